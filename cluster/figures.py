"""What the steps of a job did, in the units that estimates are made of; kept with the steps' facts.

A figure is told by the step that came to it, because only that knows its node; `finish` puts them together.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cluster.media_process import Answer, Usage
from cluster.monitoring.facts import kind_of_this_node
from cluster.work import Work
from ladders.images import ImagePart
from ladders.model import Recipe
from pipelines.chunk import ChunkResult
from pipelines.images.request import ImageResult
from pipelines.loads import (
    Figure,
    Load,
    chunking,
    decoding,
    encoding,
    finishing,
    inspecting,
    loads_of,
    measuring,
    other_bytes,
    picture,
    picture_bytes,
    picture_on_gpu,
    sound_bytes,
    sounding,
    video_bytes,
    walling,
)
from pipelines.plan import Plan, VideoPlan
from pipelines.shapes import Shape, shape_of

log = logging.getLogger(__name__)

Wire = list[list[Any]]
FINISHING = ("join", "package", "stills")  # the media processes of the last step


def inspect_figures(plan: Plan, usage: Usage) -> Wire:
    """Of the first step."""
    return _process(inspecting(shape_of(plan.info)), usage.cpu_s, usage.wall_s)


def sound_figures(tracks: int, duration_s: float, usage: Usage) -> Wire:
    """Of the step that encodes sound."""
    return _process(sounding(tracks * duration_s), usage.cpu_s, usage.wall_s)


def chunk_figures(
    video: VideoPlan, frames: int, encoded: Answer[ChunkResult], mode: str, vmaf: Mapping[str, Any] | None
) -> dict[str, Wire]:
    """Of one chunk, by rendition; what they share goes with the first. `vmaf`: usage of the measuring process."""
    made = {one.name: one for one in encoded.result.renditions}
    pixels = {r.name: float(frames * r.width * r.height) for r in video.renditions}
    parts = {
        r.name: [_figure(encoding(r.codec, r.options["preset"], pixels[r.name]), made[r.name].encode_cpu_s)]
        for r in video.renditions
    }
    result, usage, source = encoded.result, encoded.usage, video.source
    rest_s = usage.cpu_s - result.decode_cpu_s - sum(one.encode_cpu_s for one in result.renditions)
    chunk = chunking(1, max(pixels.values()), tone_map=video.stage.tone_map)
    decoded = decoding(source.codec, result.decoded_frames * source.width * source.height)
    shared = [_figure(decoded, result.decode_cpu_s), _figure(chunk, max(0.0, rest_s)), _wall(usage.cpu_s, usage.wall_s)]
    if vmaf is not None:
        shared.append(_figure(measuring(mode, 1, sum(pixels.values())), vmaf["cpu_s"]))
        shared.append(_wall(vmaf["cpu_s"], vmaf["wall_s"]))
    first = video.renditions[0].name
    return {name: [one.to_wire() for one in (*own, *(shared if name == first else ()))] for name, own in parts.items()}


def job_figures(
    plan: Plan, work: Work, report: Mapping[str, Any], steps: Iterable[list[Any]], published_bytes: int
) -> dict[str, Any]:
    """Of a whole job of video or sound, by its report and the figures of its `steps`."""
    kind, stages = report["kind"], [report["stages"][name] for name in FINISHING if name in report["stages"]]
    cpu_s, wall_s = sum(one["cpu_s"] for one in stages), sum(one["wall_s"] for one in stages)
    frames = plan.video.frame_count * len(plan.video.renditions) if plan.video else 0
    done = _process(finishing(kind, frames or len(plan.audio) * plan.duration_s), cpu_s, wall_s)
    entries = [*report["renditions"], *report["audio"]]
    is_whole = all(entry["reused_from"] is None for entry in entries)
    recipe = Recipe.model_validate(work.recipe)
    expected = loads_of(shape_of(plan.info), recipe, work.slots) if is_whole else None
    made = _byte_figures(plan, report)
    known_bytes = sum(one.amount for one in made) + _copied_bytes(plan, report)
    made.append(_figure(other_bytes(recipe, kind, plan.duration_s), max(0.0, published_bytes - known_bytes)))
    return _together(kind, expected, [*steps, *done, *(one.to_wire() for one in made)], published_bytes)


def figures_or_none(told: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What `told` says; None when it raises: what has been published does not fail by its statistics."""
    try:
        return told()
    except Exception:
        log.exception("a job leaves no figures")
        return None


def _byte_figures(plan: Plan, report: Mapping[str, Any]) -> list[Figure]:
    found = []
    planned = {r.name: r for r in plan.video.renditions} if plan.video else {}
    for entry in report["renditions"]:
        one = planned[entry["name"]]
        pixels = float(entry["frames"] * one.width * one.height)
        load = video_bytes(one.codec, one.options["crf"], one.width, one.height, pixels)
        found.append(_figure(load, entry["bytes"]))
    for track, entry in zip(plan.audio, report["audio"], strict=True):
        found.append(_figure(sound_bytes(track.bitrate_bps, plan.duration_s), entry["proof"].get("bytes") or 0))
    return [one for one in found if one.amount]


def _copied_bytes(plan: Plan, report: Mapping[str, Any]) -> float:
    """Of the files for download, beside the segments that players get."""
    if plan.video is None or not (plan.hls or plan.dash):
        return 0.0
    files = {r.name for r in plan.video.renditions if r.mp4}
    sound = report["audio"][0]["proof"].get("bytes", 0) if report["audio"] else 0
    return float(sum(one["bytes"] + sound for one in report["renditions"] if one["name"] in files))


def picture_figures(made: Answer[ImageResult], image: Mapping[str, Any], published_bytes: int) -> dict[str, Any]:
    """Of a picture's job; `image` is the recipe's part about pictures."""
    result, usage = made.result, made.usage
    facts = result.facts
    shape = Shape("image", width=facts.width, height=facts.height, codec=facts.format, frames=facts.frames)
    recipe = Recipe.model_construct(name="", image=ImagePart.model_validate(image))
    expected = loads_of(shape, recipe, 1)
    assert expected is not None, "the recipe has a part about pictures"
    encode_s = min(usage.cpu_s, result.stages_s.get("encode", 0.0))
    pixels = shape.width * shape.height
    done = [
        *(_figure(load, encode_s) for load in expected if load.what.startswith("cpu picture to ")),
        _figure(picture(shape.codec, pixels), usage.cpu_s - encode_s),
        _figure(picture_on_gpu(pixels), usage.gpu_s),
        _figure(walling("image", usage.cpu_s), usage.wall_s),
    ]
    quality = {
        (variant["name"], wanted["name"]): wanted.get("quality")
        for variant in image["variants"]
        for wanted in variant["formats"]
    }
    for one in result.images:
        drawn = one.width * one.height * one.frames
        load = picture_bytes(one.format, quality[one.variant, one.format], one.width, one.height, drawn)
        done.append(_figure(load, one.bytes))
    return _together("image", expected, [one.to_wire() for one in done], published_bytes)


def _together(
    kind: str, expected: Sequence[Load] | None, done: Iterable[list[Any]], published_bytes: int
) -> dict[str, Any]:
    sums: dict[tuple[str, str], list[float]] = {}
    for what, node_kind, *numbers in done:
        so_far = sums.get((what, node_kind), [0.0, 0.0, 0.0])
        sums[what, node_kind] = [round(old + new, 4) for old, new in zip(so_far, numbers, strict=True)]
    told = None if expected is None else [[one.what, one.processes, round(one.units, 3)] for one in expected]
    return {
        "kind": kind,
        "expected": told,
        "done": [[*key, *numbers] for key, numbers in sums.items()],
        "bytes": published_bytes,
    }


def _process(load: Load, cpu_s: float, wall_s: float) -> Wire:
    return [_figure(load, cpu_s).to_wire(), _wall(cpu_s, wall_s).to_wire()]


def _wall(cpu_s: float, wall_s: float) -> Figure:
    return _figure(walling("video", cpu_s), wall_s)


def _figure(load: Load, amount: float) -> Figure:
    # Bytes are the same wherever they were made.
    return Figure(load, "" if load.what.startswith("bytes ") else kind_of_this_node(), amount)
