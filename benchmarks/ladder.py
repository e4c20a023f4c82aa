"""A whole job against one FFmpeg command that decodes once and encodes the same rungs and the same audio.

Both read the same minute of natural 1080p and use the same encoder options; ours also packages. VMAF, sprites and
posters are off on our side and their cost is stated beside.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import imageio_ffmpeg

from benchmarks.processes import Cost, cost_of
from cluster.farm_settings import FarmSettings
from cluster.local import inspect_file
from ladders.catalog import load_preset
from ladders.model import Recipe
from pipelines.plan import Plan, RenditionPlan
from pipelines.planner import make_plan

# Encoder options that are ours alone: how many threads, not what they make.
THREADING = {"threads", "lookahead_threads"}


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: both ways in turn, so that a noisy minute hits both."""

    ours: Cost
    theirs: Cost


def plain(recipe: Recipe) -> Recipe:
    """`recipe` with everything off that the command beside it does not do."""
    values = recipe.model_dump()
    values |= {"vmaf": "off", "stills": {"poster": False, "sprites": False}}
    return Recipe.model_validate(values)


def plan_of(clip: Path, recipe: Recipe) -> Plan:
    """The plan that a job for `clip` gets."""
    settings = FarmSettings.load()
    inspected = inspect_file(clip, settings=settings)
    plan, _ = make_plan(inspected.info, inspected.index, recipe, target_chunks=settings.work.slots)
    return plan


def ffmpeg_command(clip: Path, plan: Plan, out: Path) -> list[str]:
    """One decode, one split, one scaler per rung that needs it, one encoder each, and the audio."""
    assert plan.video is not None
    source = plan.video.source
    names = [f"v{number}" for number in range(len(plan.video.renditions))]
    graph = [f"[0:v]split={len(names)}" + "".join(f"[{name}]" for name in names)]
    maps: list[str] = []
    for number, rendition in enumerate(plan.video.renditions):
        label = names[number]
        if (rendition.width, rendition.height) != (source.width, source.height):
            graph.append(f"[{label}]scale={rendition.width}:{rendition.height}:flags=bicubic[s{label}]")
            label = f"s{label}"
        maps += ["-map", f"[{label}]", *encoder_arguments(rendition), "-an", str(out / f"{rendition.name}.mp4")]
    for track in plan.audio:
        maps += ["-map", f"0:{track.stream_index}", "-c:a", "aac", "-b:a", str(track.bitrate_bps)]
        maps += ["-ac", str(track.channels), "-ar", str(track.sample_rate_hz), "-vn", str(out / f"{track.name}.mp4")]
    exe = imageio_ffmpeg.get_ffmpeg_exe()
    return [exe, "-hide_banner", "-nostdin", "-y", "-i", str(clip), "-filter_complex", ";".join(graph), *maps]


def encoder_arguments(rendition: RenditionPlan) -> list[str]:
    """The rendition's encoder and options as FFmpeg's command line takes them; threads are left to it."""
    arguments = ["-c:v", rendition.encoder, "-pix_fmt", rendition.pixel_format]
    for name, value in rendition.options.items():
        if name not in THREADING:
            arguments += [f"-{name}", value]
    return arguments


def run_ours(clip: Path, recipe: Path, out: Path) -> Cost:
    """Our whole job in a process of its own: inspect, chunks, audio, join, package, publish."""
    shutil.rmtree(out, ignore_errors=True)
    transcode = [sys.executable, "-m", "serve", "transcode", str(clip)]
    return cost_of([*transcode, "--out", str(out), "--recipe", str(recipe), "--json"])


def compare(clip: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """CPU and wall ratios (median of `rounds`), with the files of the last round left in `folder`."""
    recipe = plain(load_preset("standard"))
    recipe_path = folder / "bench.yaml"
    recipe_path.write_text(json.dumps(recipe.model_dump(mode="json")))  # JSON is YAML
    plan = plan_of(clip, recipe)
    theirs = folder / "ffmpeg"
    theirs.mkdir(parents=True, exist_ok=True)
    pairs = []
    for _ in range(rounds):
        pairs.append(Pair(run_ours(clip, recipe_path, folder / "ours"), cost_of(ffmpeg_command(clip, plan, theirs))))
    return {
        "clip_s": round(plan.duration_s, 2),
        "rungs": [r.name for r in plan.video.renditions] if plan.video else [],
        "rounds": rounds,
        "cpu_ratio": round(median(p.ours.cpu_s / p.theirs.cpu_s for p in pairs), 3),
        "wall_ratio": round(median(p.ours.wall_s / p.theirs.wall_s for p in pairs), 3),
        "ours_cpu_s": [round(p.ours.cpu_s, 1) for p in pairs],
        "theirs_cpu_s": [round(p.theirs.cpu_s, 1) for p in pairs],
        "ours_wall_s": [round(p.ours.wall_s, 1) for p in pairs],
        "theirs_wall_s": [round(p.theirs.wall_s, 1) for p in pairs],
    }
