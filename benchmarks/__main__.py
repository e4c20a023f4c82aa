"""`make bench`: measure, print, and store the figures as JSON under benchmarks/results/.

python -m benchmarks [ladder] [quality] [memory] [farm] [intake] [--seconds 60] [--rounds 3]
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.clips import CLIPS, looped
from pipelines.version import versions

RESULTS = Path(__file__).parent / "results"
ALL = ("ladder", "memory", "farm", "intake")


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("which", nargs="*", help=f"of {', '.join(ALL)}; all when left out")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the clip of `ladder` and `farm`")
    parser.add_argument("--rounds", type=int, default=3, help="of `ladder`; the median counts")
    asked = parser.parse_args()
    unknown = set(asked.which) - set(ALL)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if not CLIPS[1080].exists():
        print(f"the natural 1080p clip is not at {CLIPS[1080]}: set no figures from other material", file=sys.stderr)
        return 1
    found: dict[str, Any] = {"machine": _machine(), "versions": versions()}
    does: dict[str, Callable[[], Any]] = {
        "ladder": lambda: _ladder(asked.seconds, asked.rounds),
        "memory": _memory,
        "farm": lambda: _farm(asked.seconds),
        "intake": _intake,
    }
    for name in asked.which or ALL:
        print(f"{name} …", file=sys.stderr, flush=True)
        found[name] = does[name]()
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(found, indent=1))
    print(f"stored {path}")
    return 0


def _machine() -> dict[str, Any]:
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in facts if line.startswith("model name")), "?")
    return {"cores": os.cpu_count(), "cpu": cpu, "load": os.getloadavg()[0], "python": platform.python_version()}


def _ladder(seconds: float, rounds: int) -> dict[str, Any]:
    from benchmarks import ladder, quality

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip = looped(CLIPS[1080], seconds, folder / "source.mp4")
        figures = ladder.compare(clip, rounds, folder)
        figures["quality"] = quality.compare(clip, (1920, 1080), folder / "ours", folder / "ffmpeg", figures["rungs"])
        figures["x264"] = {
            "ours": quality.encoder_version(folder / "ours" / "mp4" / "720p.mp4"),
            "theirs": quality.encoder_version(folder / "ffmpeg" / "720p.mp4"),
        }
    return figures


def _memory() -> dict[str, Any]:
    from benchmarks import memory

    return memory.peaks()


def _farm(seconds: float) -> dict[str, Any]:
    from benchmarks import farm

    return farm.overhead(CLIPS[1080], seconds, os.cpu_count() or 1)


def _intake() -> dict[str, Any]:
    from benchmarks import intake

    return intake.rates()


if __name__ == "__main__":
    sys.exit(main())
