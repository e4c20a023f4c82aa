"""The chunk path alone against one FFmpeg command: where CPU and wall go, without a store, audio or packaging.

    python -m benchmarks.ladder_cost --seconds 18 --slots 2 --threads 1 --rounds 3

Both decode the same natural 1080p once per chunk or once, and encode the same rungs with the same options. Rounds
alternate, so that a noisy minute hits both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.clips import looped, natural_clip
from benchmarks.ladder import ffmpeg_command
from benchmarks.processes import Cost, cost_of
from ladders.catalog import load_preset
from ladders.model import Recipe
from pipelines.chunk import ChunkRequest, ChunkResult
from pipelines.confine import ProcessLimits
from pipelines.frames import pack_rows
from pipelines.inspect import InspectRequest, inspect
from pipelines.join import JoinRendition, JoinRequest, JoinResult
from pipelines.limits import Limits
from pipelines.plan import FrameRow, Plan
from pipelines.planner import make_plan
from pipelines.wire import from_wire, to_wire

LIMITS = ProcessLimits(wall_s=3600, stall_s=3600, memory_bytes=16 << 30, cpu_s=36_000, file_bytes=64 << 30)


@dataclass(frozen=True, slots=True)
class Ours:
    """One round of ours: the chunks side by side, then the join."""

    cost: Cost
    chunks: list[ChunkResult]
    join_wall_s: float
    bytes: dict[str, int]


def media_process(command: str, request: Any, folder: Path, name: str) -> tuple[dict[str, Any], Cost]:
    """The result of one media process as it really runs, and its cost."""
    asked = folder / f"{name}.json"
    asked.write_text(json.dumps({"parent_pid": os.getpid(), "limits": to_wire(LIMITS), "request": to_wire(request)}))
    started = time.monotonic()
    with (
        asked.open("rb") as stdin,
        subprocess.Popen(
            [sys.executable, "-m", "pipelines", command], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process,
    ):
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    answer = json.loads(lines[-1])
    if "result" not in answer:
        raise RuntimeError(f"{command} failed: {answer}")
    return answer["result"], Cost(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def run_ours(clip: Path, plan: Plan, rows: Sequence[FrameRow], slots: int, threads: int, folder: Path) -> Ours:
    """All chunks of `plan`, `slots` at a time, and the join."""
    video = plan.video
    assert video is not None
    started = time.monotonic()

    def one(number: int) -> tuple[ChunkResult, Cost]:
        cut = video.chunks[number]
        mine = rows[cut.start_frame : cut.end_frame]
        target = folder / f"chunk-{number}"
        target.mkdir(parents=True, exist_ok=True)
        request = ChunkRequest(
            source_path=str(clip),
            video=replace(video, chunks=()),
            chunk=cut,
            sources=tuple(row.source for row in mine),
            pts=tuple(row.pts for row in mine),
            out_dir=str(target),
            threads=threads,
        )
        result, cost = media_process("chunk", request, folder, f"chunk-{number}")
        return from_wire(ChunkResult, result), cost

    # A media process dies with the thread that started it: the pool's threads live until all is done.
    with ThreadPoolExecutor(slots) as pool:
        done = list(pool.map(one, range(len(video.chunks))))
        frames = folder / "frames.i64"
        frames.write_bytes(pack_rows(rows))
        request = JoinRequest(
            tuple(
                JoinRendition(
                    r,
                    tuple((str(folder / f"chunk-{cut.number}" / f"{r.name}.mp4"),) for cut in video.chunks),
                    str(folder / f"{r.name}.mp4"),
                )
                for r in video.renditions
            ),
            replace(video, chunks=()),
            str(frames),
        )
        before_join = time.monotonic()
        joined, join_cost = pool.submit(media_process, "join", request, folder, "join").result()
    costs = [cost for _, cost in done]
    return Ours(
        cost=Cost(
            wall_s=time.monotonic() - started,
            cpu_s=sum(cost.cpu_s for cost in costs) + join_cost.cpu_s,
            peak_rss_bytes=max(cost.peak_rss_bytes for cost in costs),
        ),
        chunks=[result for result, _ in done],
        join_wall_s=time.monotonic() - before_join,
        bytes={proof.name: proof.bytes for proof in from_wire(JoinResult, joined).renditions},
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clip", type=Path, default=natural_clip())
    parser.add_argument("--seconds", type=float, default=18)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1, help="chunks side by side")
    parser.add_argument("--chunks", type=int, default=0, help="0: as many as slots")
    parser.add_argument("--threads", type=int, default=1, help="per chunk")
    parser.add_argument("--preset", default="")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only-ours", action="store_true")
    asked = parser.parse_args()
    recipe = load_preset("standard")
    if asked.preset:
        values = recipe.model_dump()
        values["video"]["codec"]["preset"] = asked.preset
        recipe = Recipe.model_validate(values)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip = looped(asked.clip, asked.seconds, folder / "source.mp4")
        found = inspect(InspectRequest(str(clip), Limits(), "video"), lambda _: None)
        plan, rows = make_plan(found.info, found.index, recipe, target_chunks=asked.chunks or asked.slots)
        plan = replace(plan, audio=())
        (folder / "theirs").mkdir()
        for _ in range(asked.rounds):
            ours = run_ours(clip, plan, rows, asked.slots, asked.threads, folder)
            print_round(ours)
            if not asked.only_ours:
                theirs = cost_of(ffmpeg_command(clip, plan, folder / "theirs"))
                sizes = {name: (folder / "theirs" / f"{name}.mp4").stat().st_size for name in ours.bytes}
                print_theirs(ours, theirs, sizes)


def print_theirs(ours: Ours, theirs: Cost, sizes: dict[str, int]) -> None:
    """The other side of a round, and the ratios."""
    bytes_ratios = {name: round(ours.bytes[name] / size, 3) for name, size in sizes.items()}
    print(
        f"theirs: cpu {theirs.cpu_s:.1f} s, wall {theirs.wall_s:.1f} s, rss {theirs.peak_rss_bytes >> 20} MiB; ratios:"
        f" cpu {ours.cost.cpu_s / theirs.cpu_s:.3f}, wall {ours.cost.wall_s / theirs.wall_s:.3f}, bytes {bytes_ratios}",
        flush=True,
    )


def print_round(ours: Ours) -> None:
    """Where one round's time went."""
    print(f"ours: cpu {ours.cost.cpu_s:.1f} s, wall {ours.cost.wall_s:.1f} s, join {ours.join_wall_s:.2f} s")
    for number, chunk in enumerate(ours.chunks):
        encode = {r.name: round(r.encode_cpu_s, 1) for r in chunk.renditions}
        print(
            f"  chunk {number}: {chunk.renditions[0].frames} frames, {chunk.decoded_frames} decoded, wall"
            f" {chunk.wall_s:.1f} s, decode {chunk.decode_cpu_s:.1f} s, filters {chunk.filter_cpu_s:.1f} s,"
            f" encode {encode}, rss {chunk.peak_rss_bytes >> 20} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
