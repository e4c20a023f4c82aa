"""How much there is to do: of each kind of work so many processes and units, by a source's header and a recipe.

A job's steps say by the same names what they did (`Figure`), so that the one can be reckoned from the other.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ladders.images import ImagePart, SelectedVariant
from ladders.model import Recipe, SourceShape, VideoPart
from ladders.select import output_frame_rate, select_rungs
from ladders.select_images import select_variants
from pipelines.cut import chunks_wanted
from pipelines.shapes import Shape


@dataclass(frozen=True, slots=True)
class Load:
    """Work of one kind. `what` begins with what is counted of it: cpu and gpu seconds, wall seconds, or bytes."""

    what: str
    processes: float  # each costs something to start
    units: float  # pixels, frames, seconds of sound: what the work grows with


@dataclass(frozen=True, slots=True)
class Figure:
    """A load that was done on a node of some kind, and the seconds or bytes that it came to."""

    load: Load
    node_kind: str
    amount: float

    def to_wire(self) -> list[Any]:
        """Plain values."""
        load = self.load
        return [load.what, self.node_kind, load.processes, round(load.units, 3), round(self.amount, 4)]


def inspecting(shape: Shape) -> Load:
    """Probe and index."""
    return Load("cpu inspect", 1, shape.duration_s * shape.frame_rate)


def decoding(codec: str, pixels: float) -> Load:
    """Of a video, beside what its process costs anyhow."""
    return Load(f"cpu decode {codec}", 0, pixels)


def encoding(codec: str, preset: object, pixels: float) -> Load:
    """Scaling and encoding of one rendition."""
    return Load(f"cpu encode {codec} {preset}", 0, pixels)


def chunking(count: float, pixels: float, *, tone_map: bool) -> Load:
    """What is left of the processes of chunks: starting, and filters that renditions share, by the largest's pixels."""
    return Load("cpu chunk tone-mapped" if tone_map else "cpu chunk", count, pixels)


def measuring(mode: str, count: float, pixels: float) -> Load:
    """VMAF."""
    return Load(f"cpu vmaf {mode}", count, pixels)


def sounding(seconds: float) -> Load:
    """Audio tracks, in seconds of all together."""
    return Load("cpu sound", 1, seconds)


def finishing(kind: str, units: float) -> Load:
    """Join, package, stills, by frames of all renditions; of sound alone by seconds of all tracks."""
    return Load(f"cpu finish {kind}", 1, units)


def walling(kind: str, cpu_s: float) -> Load:
    """How long a lane is taken, by the CPU seconds that are used on it meanwhile."""
    return Load(f"wall {kind}", 0, cpu_s)


def video_bytes(codec: str, crf: str, width: int, height: int, pixels: float) -> Load:
    """Of one rendition; what is published twice has twice the pixels."""
    return Load(f"bytes {codec} crf{crf} {_size_class(width, height)}", 0, pixels)


def sound_bytes(bitrate_bps: float, seconds: float) -> Load:
    """Of audio tracks."""
    return Load("bytes sound", 0, bitrate_bps / 8 * seconds)


def other_bytes(recipe: Recipe, kind: str, duration_s: float) -> Load:
    """Stills, playlists, the files' own tables."""
    has_stills = kind == "video" and (recipe.stills.poster or recipe.stills.sprites)
    return Load(f"bytes other {'stills' if has_stills else 'bare'}", 1, duration_s)


def picture(format_name: str, pixels: float) -> Load:
    """A picture's process but for encoding, by the source's pixels, whoever decodes it."""
    return Load(f"cpu picture {format_name}", 1, pixels)


def picture_on_gpu(pixels: float) -> Load:
    """What of it a GPU does: of the pictures of a node, some or none go there."""
    return Load("gpu picture", 0, pixels)


def picture_encoding(formats: Iterable[str], pixels: float, *, moving: bool) -> Load:
    """All files of a picture, by the pixels of all frames; formats are encoded side by side and timed together."""
    return Load(f"cpu picture to {'+'.join(sorted(set(formats)))}{' moving' if moving else ''}", 0, pixels)


def picture_bytes(format_name: str, quality: int | None, width: int, height: int, pixels: float) -> Load:
    """Of one file."""
    return Load(f"bytes {format_name} q{quality or 0} {_size_class(width, height)}", 0, pixels)


def loads_of(shape: Shape, recipe: Recipe, target_chunks: int) -> tuple[Load, ...] | None:
    """What making `recipe` of a source takes; None when it makes nothing of such a source, or its size is not known."""
    if shape.kind != "audio" and not (shape.width and shape.height):
        return None
    if shape.kind == "image":
        return _picture_loads(shape, recipe.image) if recipe.image is not None else None
    if shape.kind == "video" and recipe.video is not None:
        return _video_loads(shape, recipe, recipe.video, target_chunks)
    packaging = recipe.packaging
    if recipe.audio is None or not shape.tracks or not (packaging.hls or packaging.dash):
        return None
    return (
        inspecting(shape),
        *_sound_loads(shape, recipe, files=0),
        other_bytes(recipe, "audio", shape.duration_s),
        finishing("audio", _sound_s(shape, recipe)),
    )


def _video_loads(shape: Shape, recipe: Recipe, wanted: VideoPart, target_chunks: int) -> tuple[Load, ...]:
    rungs = select_rungs(wanted, SourceShape(width=shape.width, height=shape.height))
    rate = Fraction(shape.frame_rate).limit_denominator(100_000) or Fraction(25)
    frames = shape.duration_s * float(output_frame_rate(rate, wanted.max_frame_rate))
    tone_map = shape.is_hdr and wanted.dynamic_range == "sdr"
    length_s = max(shape.duration_s, 0.001)
    count = max(1, chunks_wanted(length_s, target_chunks, math.ceil(length_s / wanted.gop_seconds), tone_map=tone_map))
    pixels = [frames * rung.width * rung.height for rung in rungs]
    loads = [
        inspecting(shape),
        decoding(shape.codec, shape.duration_s * float(rate) * shape.width * shape.height),
        chunking(count, max(pixels), tone_map=tone_map),
        *(encoding(wanted.codec.name, wanted.codec.preset, each) for each in pixels),
        finishing("video", frames * len(rungs)),
    ]
    if recipe.vmaf != "off":
        loads.append(measuring(recipe.vmaf, count, sum(pixels)))
    files = _mp4_rungs([rung.name for rung in rungs], recipe)
    streamed = int(recipe.packaging.hls or recipe.packaging.dash)
    for rung, each in zip(rungs, pixels, strict=True):
        if copies := streamed + (rung.name in files):
            loads.append(video_bytes(wanted.codec.name, f"{rung.crf:g}", rung.width, rung.height, each * copies))
    return (*loads, other_bytes(recipe, "video", shape.duration_s), *_sound_loads(shape, recipe, files=len(files)))


def _mp4_rungs(names: Sequence[str], recipe: Recipe) -> set[str]:
    """As the planner chooses: the best in place of a rung that is too large for the source."""
    return {name if name in names else names[-1] for name in recipe.packaging.mp4}


def _sound_s(shape: Shape, recipe: Recipe) -> float:
    return shape.duration_s * shape.tracks * len(recipe.audio.renditions) if recipe.audio is not None else 0.0


def _sound_loads(shape: Shape, recipe: Recipe, *, files: int) -> list[Load]:
    """Tracks of their own for players, and the first one in each of the files."""
    if recipe.audio is None or not shape.tracks:
        return []
    wanted = recipe.audio.renditions
    bitrate_bps = files * wanted[0].bitrate_bps
    if recipe.packaging.hls or recipe.packaging.dash:
        bitrate_bps += sum(one.bitrate_bps for one in wanted) * shape.tracks
    return [sounding(_sound_s(shape, recipe)), sound_bytes(bitrate_bps, shape.duration_s)]


def _picture_loads(shape: Shape, part: ImagePart) -> tuple[Load, ...]:
    selected = select_variants(part, SourceShape(width=shape.width, height=shape.height))
    made = [
        (wanted.name, getattr(wanted, "quality", None), one.size, _frames(shape, one, wanted.name))
        for one in selected
        for wanted in one.variant.formats
    ]
    distinct = list(dict.fromkeys(made))  # equal files are encoded once
    return (
        picture(shape.codec, shape.width * shape.height),
        picture_on_gpu(shape.width * shape.height),
        picture_encoding(
            (name for name, *_ in made),
            sum(size[0] * size[1] * frames for _, _, size, frames in distinct),
            moving=any(frames > 1 for *_, frames in made),
        ),
        *(picture_bytes(name, quality, *size, size[0] * size[1] * frames) for name, quality, size, frames in made),
    )


def _frames(shape: Shape, one: SelectedVariant, format_name: str) -> int:
    return shape.frames if one.variant.animation == "keep" and format_name == "webp" else 1


def _size_class(width: int, height: int) -> int:
    """The side of a square of as many pixels, to the nearest power of √2: small pictures take more bits a pixel."""
    return round(2 ** (round(math.log2(max(1, width * height))) / 2))
