"""`make bench`: measure, print, and store the figures as JSON under benchmarks/results/.

python -m benchmarks [ladder] [memory] [farm] [intake] [scheduling] [dispatch] [images] [images-gpu] [batch]
                     [soak] [--clip FILE] [--seconds 60] [--rounds 3] [--items 10000] [--chunks 10000] [--minutes 10]
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

from benchmarks.clips import clips_by_height, looped, natural_clip, size_of
from pipelines.version import versions

RESULTS = Path(__file__).parent / "results"
ALL = ("ladder", "memory", "farm", "intake", "scheduling", "dispatch", "images", "images-gpu", "batch", "soak")


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("which", nargs="*", help=f"of {', '.join(ALL)}; all when left out")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of the clip of `ladder` and `farm`, of each load of `intake`"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of `ladder` and `images`; the median counts")
    parser.add_argument("--clip", type=Path, default=natural_clip(), help="what to measure on, looped: %(default)s")
    parser.add_argument("--items", type=int, default=10_000, help="tiny pictures of `batch`")
    parser.add_argument(
        "--chunks", type=int, default=10_000, help="of `dispatch`; `scheduling` simulates twice as many"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of `soak`")
    asked = parser.parse_args()
    unknown = set(asked.which) - set(ALL)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if not asked.clip.is_file():
        parser.error(f"{asked.clip} is not a file")
    width, height = size_of(asked.clip)
    material = {"clip": asked.clip.name, "width": width, "height": height}
    found: dict[str, Any] = {"machine": _machine(), "material": material, "versions": versions()}
    print(f"material: {asked.clip.name}, {width}×{height}", file=sys.stderr)
    does: dict[str, Callable[[], Any]] = {
        "ladder": lambda: _ladder(asked.clip, asked.seconds, asked.rounds),
        "memory": lambda: _memory(asked.clip),
        "farm": lambda: _farm(asked.clip, asked.seconds),
        "intake": lambda: _intake(asked.seconds),
        "scheduling": lambda: _scheduling(asked.chunks),
        "dispatch": lambda: _dispatch(asked.chunks),
        "images": lambda: _images(asked.rounds),
        "images-gpu": _images_gpu,
        "batch": lambda: _batch(asked.items),
        "soak": lambda: _soak(asked.minutes),
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


def _ladder(source: Path, seconds: float, rounds: int) -> dict[str, Any]:
    from benchmarks import ladder, quality

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip = looped(source, seconds, folder / "source.mp4")
        figures = ladder.compare(clip, rounds, folder)
        figures["quality"] = quality.compare(
            clip, size_of(source), folder / "ours", folder / "ffmpeg", figures["rungs"]
        )
        figures["x264"] = {
            "ours": quality.encoder_version(folder / "ours" / "mp4" / "720p.mp4"),
            "theirs": quality.encoder_version(folder / "ffmpeg" / "720p.mp4"),
        }
    return figures


def _memory(source: Path) -> dict[str, Any]:
    from benchmarks import memory

    return memory.peaks(clips_by_height(source))


def _farm(source: Path, seconds: float) -> dict[str, Any]:
    from benchmarks import farm

    return farm.overhead(source, seconds, os.cpu_count() or 1)


def _intake(seconds: float) -> dict[str, Any]:
    from benchmarks import intake

    return intake.rates(seconds)


def _scheduling(chunks: int) -> dict[str, Any]:
    from benchmarks import scheduling

    return scheduling.simulate(2 * chunks)


def _dispatch(chunks: int) -> dict[str, Any]:
    from benchmarks import dispatch

    return dispatch.cost(chunks)


def _images(rounds: int) -> dict[str, Any]:
    from benchmarks import images

    return images.compare(rounds)


def _images_gpu() -> dict[str, Any]:
    from benchmarks import images_gpu

    return images_gpu.compare(images_gpu.record_path(), images=512)


def _batch(items: int) -> dict[str, Any]:
    from benchmarks import batch

    return batch.through_the_farm(items)


def _soak(minutes: float) -> dict[str, Any]:
    from benchmarks import soak

    return soak.soak(minutes)


if __name__ == "__main__":
    sys.exit(main())
