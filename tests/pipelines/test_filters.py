"""Pictures on their way from decoder to encoder, with colours and frame numbers that can be checked."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest

from pipelines.color import MATRICES, is_rgb
from pipelines.decode import Decoder
from pipelines.filters import RenditionGraph, SourceStage
from pipelines.plan import ColorTags, RenditionPlan, VideoPlan
from tests.support.chunks import lossless, planned
from tests.support.media import clip, joined_ts, resized_midway
from tests.support.pictures import NoFrameNumber, frame_number, luma, read_number

BT709 = ColorTags("bt709", "bt709", "bt709")
LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt470bg": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
PALE = [(235, 128, 128), (16, 128, 128), (126, 128, 128), (100, 112, 140), (145, 120, 110), (180, 140, 118)]


def flat(yuv: tuple[int, ...], pixel_format: str, size: tuple[int, int] = (64, 48)) -> av.VideoFrame:
    """One colour, given in 8 bit."""
    frame = av.VideoFrame(*size, pixel_format)
    for plane, value in zip(frame.planes, yuv, strict=True):
        if "10" in pixel_format:
            plane.update(np.full(plane.buffer_size // 2, value * 4, np.uint16).tobytes())
        else:
            plane.update(bytes([value]) * plane.buffer_size)
    frame.pts = 0
    return frame


def means(frame: av.VideoFrame) -> list[float]:
    """The mean of each plane, in 8 bit."""
    wide = "10" in frame.format.name
    found = []
    for plane in frame.planes:
        lines = np.frombuffer(plane, np.uint16 if wide else np.uint8).reshape(plane.height, -1)
        found.append(float(lines[:, : plane.width].mean()) / (4 if wide else 1))
    return found


def in_bt709(yuv: tuple[int, ...], space: str, *, full: bool) -> list[float]:
    """The same colour in limited-range BT.709, by the definition of both."""
    red_share, blue_share = LUMA[space]
    offset, luma_span, chroma_span = (0, 255, 255) if full else (16, 219, 224)
    y, u, v = (yuv[0] - offset) / luma_span, (yuv[1] - 128) / chroma_span, (yuv[2] - 128) / chroma_span
    red, blue = y + 2 * (1 - red_share) * v, y + 2 * (1 - blue_share) * u
    green = (y - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    return from_rgb(red, green, blue)


def from_rgb(red: float, green: float, blue: float) -> list[float]:
    red_share, blue_share = LUMA["bt709"]
    y = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    u, v = (blue - y) / (2 * (1 - blue_share)), (red - y) / (2 * (1 - red_share))
    return [16 + 219 * y, 128 + 224 * u, 128 + 224 * v]


SSE42 = 0x3FF  # of libavutil's AV_CPU_FLAG_…: MMX to SSE4.2
AVX2 = SSE42 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x40000  # and AVX, AVX2, FMA3, BMI1, BMI2


def noise(width: int, height: int, pixel_format: str) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, pixel_format)
    chance = np.random.default_rng(7)
    for plane in frame.planes:
        values = chance.integers(0, 1024, plane.buffer_size // 2) if "10" in pixel_format else None
        plane.update((chance.bytes(plane.buffer_size)) if values is None else values.astype("<u2").tobytes())
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


def rendition(width: int, height: int, pixel_format: str = "yuv420p", color: ColorTags = BT709) -> RenditionPlan:
    return lossless(width, height, pixel_format, 10, color=color)


def tagged(frame: av.VideoFrame, tags: ColorTags) -> av.VideoFrame:
    frame.colorspace = 0 if is_rgb(frame.format.name) else MATRICES[tags.space]
    frame.color_range = 2 if tags.range == "full" else 1
    frame.color_primaries = frame.color_trc = 1
    return frame


@pytest.mark.parametrize("space", LUMA)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv422p10le", "yuv444p"])
@pytest.mark.parametrize("size", [(64, 48), (32, 24)])
def test_colours_come_out_in_limited_bt709_within_a_rounding(
    space: str, pixel_format: str, size: tuple[int, int]
) -> None:
    full = pixel_format.startswith("yuvj")
    tags = ColorTags("bt709", "bt709", space, "full" if full else "limited")
    for yuv in PALE:
        made = RenditionGraph(rendition(*size), tags).frame(tagged(flat(yuv, pixel_format), tags))
        assert (made.width, made.height, made.format.name) == (*size, "yuv420p")
        assert means(made) == pytest.approx(in_bt709(yuv, space, full=full), abs=1.3)


@pytest.mark.parametrize("rgb", [(255, 255, 255), (0, 0, 0), (200, 50, 30), (20, 90, 180)])
def test_rgb_comes_out_in_limited_bt709(rgb: tuple[int, int, int]) -> None:
    tags = ColorTags("bt709", "bt709", "gbr", "full")
    red, green, blue = rgb
    made = RenditionGraph(rendition(32, 24), tags).frame(tagged(flat((green, blue, red), "gbrp"), tags))
    assert means(made) == pytest.approx(from_rgb(red / 255, green / 255, blue / 255), abs=1)


@pytest.fixture
def processors() -> Iterator[list[Callable[[], None]]]:
    """What makes FFmpeg take this processor for one with SSE4.2 and no more, with AVX2, and for what it is."""
    libraries = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libavutil" in line}
    library = ctypes.CDLL(libraries.pop())
    real = library.av_get_cpu_flags()
    yield [partial(library.av_force_cpu_flags, real & mask) for mask in (SSE42, AVX2, real)]
    library.av_force_cpu_flags(-1)


@pytest.mark.parametrize("size", [(1280, 720), (426, 240), (98, 54)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "nv12", "rgb24"])
def test_a_picture_is_scaled_to_the_same_bytes_on_every_x86_64_processor(
    processors: list[Callable[[], None]], pixel_format: str, size: tuple[int, int]
) -> None:
    """A chunk that was lost is made again on another kind of node, and must not differ from its first making."""
    tags = ColorTags("bt709", "bt709", "gbr", "full") if is_rgb(pixel_format) else BT709
    source = tagged(noise(640, 362, pixel_format), tags)
    made = []
    for pretend in processors:
        pretend()
        made.append(RenditionGraph(rendition(*size), tags).frame(source).to_ndarray().tobytes())
    assert made[0] == made[1] == made[2]


def test_a_picture_that_needs_nothing_is_not_copied() -> None:
    shared = tagged(flat((90, 100, 150), "yuv420p"), BT709)
    made = RenditionGraph(rendition(64, 48), BT709).frame(shared)
    assert [plane.buffer_ptr for plane in made.planes] == [plane.buffer_ptr for plane in shared.planes]
    made.pts = 99
    assert shared.pts == 0, "its times are its own"


def frames(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def staged(path: Path, **changes: Any) -> list[tuple[int, av.VideoFrame]]:
    """All frames of the video at `path` through its stage, by number."""
    video = planned(path, **changes).video
    stage = SourceStage(video)
    done = []
    for number, frame in enumerate(frames(path)):
        done += stage.push(number, frame, Fraction(1))
    return done + stage.finish()


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_and_mirrored_pictures_come_out_upright(rotation_deg: int, mirrored: bool) -> None:
    path = clip(frames=3, rotation_deg=rotation_deg, mirrored=mirrored)
    if rotation_deg or mirrored:
        with pytest.raises(NoFrameNumber):
            frame_number(next(frames(path)))
    found = staged(path, rotation_deg=rotation_deg, mirrored=mirrored)
    assert [(key, frame_number(frame)) for key, frame in found] == [(0, 0), (1, 1), (2, 2)]


def combing(frame: av.VideoFrame) -> float:
    """How much more neighbouring lines differ than lines of the same field."""
    luma = frame.reformat(format="gray").to_ndarray().astype(int)[frame.height // 4 : -frame.height // 4]
    beside, same = np.abs(np.diff(luma, axis=0)).mean(), np.abs(luma[2:] - luma[:-2]).mean()
    return float(beside / same)


@pytest.mark.parametrize("first", ["top", "bottom"])
def test_interlaced_frames_come_out_once_each_under_their_own_number_without_combs(
    first: Literal["top", "bottom"],
) -> None:
    path = clip(codec="mpeg2video", suffix="ts", interlaced=first, frames=20, width=320, height=240)
    found = staged(path, deinterlace=True)
    assert [(key, frame_number(frame)) for key, frame in found] == [(n, n) for n in range(20)]
    source = list(frames(path))
    assert min(combing(frame) for frame in source) > 1.2, "the source does not comb"
    assert max(combing(frame) for _, frame in found) < 1.0


def test_progressive_frames_pass_a_deinterlacer_untouched() -> None:
    path = clip(frames=5)
    found = staged(path, deinterlace=True)
    for (_, made), source in zip(found, frames(path), strict=True):
        assert bytes(made.planes[0]) == bytes(source.planes[0])


@pytest.mark.parametrize(("transfer", "number"), [("smpte2084", 16), ("arib-std-b67", 18)])
def test_hdr_becomes_sdr_at_the_planned_size_readable_and_with_greys_that_are_grey(transfer: str, number: int) -> None:
    hdr = {"codec": "hevc", "pix_fmt": "yuv420p10le", "primaries": 9, "transfer": number, "matrix": 9}
    path = clip(frames=2, width=320, height=180, **hdr)  # x265 gives the only frame of a video an undefined dts
    stage = SourceStage(planned(path, tone_map=True, width=160, height=96).video)
    assert stage.out_tags == BT709
    greys = [flat((luma, 128, 128), "yuv420p10le", (320, 180)) for luma in (40, 90, 140)]
    made = [stage.push(key, frame, Fraction(1))[0][1] for key, frame in enumerate([next(frames(path)), *greys])]
    assert frame_number(made[0]) == 0
    for frame in made:
        assert (frame.width, frame.height, frame.format.name) == (160, 96, "yuv420p")
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (1, 1, 1, 1)
    dark, middle, light = (means(frame) for frame in made[1:])
    assert dark[0] + 20 < middle[0] < light[0] - 20
    assert dark[1:] + middle[1:] + light[1:] == pytest.approx([128] * 6, abs=2)


def test_a_size_that_changes_in_the_middle_is_fitted_into_the_planned_picture() -> None:
    path = resized_midway()
    found = staged(path)
    assert [key for key, _ in found] == list(range(60))
    assert {(frame.width, frame.height) for _, frame in found} == {(320, 180)}
    assert [frame_number(frame) for _, frame in found] == list(range(60))


def test_a_shape_that_changes_in_the_middle_gets_black_bars() -> None:
    path = resized_midway(sizes=((320, 180), (240, 180)))
    frame = staged(path)[-1][1]
    luma = frame.reformat(format="gray").to_ndarray()
    assert luma.shape == (180, 320)
    assert luma[:, :36].max() <= 17
    assert luma[:, -36:].max() <= 17
    assert luma[:, 60:-60].max() > 100


def decoded(path: Path) -> list[tuple[int, av.VideoFrame]]:
    """All frames of the video at `path` as a chunk decodes them, through its stage, by number."""
    video = planned(path).video
    stage = SourceStage(video)
    done = []
    with Decoder(str(path), video.source, threads=1) as decoder:
        for number, frame in enumerate(decoder.all()):
            done += stage.push(number, frame, decoder.sample_aspect_ratio)
    return done + stage.finish()


@pytest.mark.parametrize("codec", ["mpeg2video", "h264"])
@pytest.mark.parametrize(("aspects", "bars"), [((4, 16), (36, 0)), ((16, 4), (0, 45))])
def test_pixels_that_change_their_shape_in_the_middle_get_black_bars_and_are_not_stretched(
    codec: str, aspects: tuple[int, int], bars: tuple[int, int]
) -> None:
    pixels = {4: Fraction(16, 15), 16: Fraction(64, 45)}  # of 4:3 and 16:9 television
    parts = [
        clip(
            suffix="ts", codec=codec, width=360, height=288, fps=25, frames=30, first_number=30 * part,
            pts=tuple(range(25 + 30 * part, 55 + 30 * part)), sar=pixels[aspect],
        )
        for part, aspect in enumerate(aspects)
    ]  # fmt: skip
    found = decoded(joined_ts(*parts))
    assert [key for key, _ in found] == list(range(60))
    top, left = bars
    for number, frame in found:
        picture = luma(frame)
        assert picture.shape == (288, 360)
        if number >= 30:
            outside = picture[: top - 2] if top else picture[:, : left - 2]
            assert outside.max() <= 20
            picture = picture[top : 288 - top, left : 360 - left]
        assert read_number(picture) == number, "a bar in the wrong place, or a frame too early"


@pytest.mark.parametrize(("codec", "suffix", "pix_fmt"), [("prores", "mov", "yuv422p10le"), ("av1", "mp4", "yuv420p")])
def test_an_aspect_that_only_the_container_tells_is_no_change(codec: str, suffix: str, pix_fmt: str) -> None:
    path = clip(codec=codec, suffix=suffix, pix_fmt=pix_fmt, width=240, height=180, sar=Fraction(4, 3), frames=3)
    with Decoder(str(path), planned(path).video.source, threads=1) as decoder:
        next(decoder.all())
        assert decoder.sample_aspect_ratio == Fraction(4, 3)
    assert [frame_number(frame) for _, frame in decoded(path)] == [0, 1, 2]


def test_wide_pixels_become_square_ones() -> None:
    """The rendition's size already is that of square pixels; the whole picture is stretched to it."""
    video = planned(clip(frames=1, width=180, height=180, sar=Fraction(16, 9))).video
    assert video.source.display_size == (320, 180)
    shared = staged_first(video, clip(frames=1, width=180, height=180, sar=Fraction(16, 9)))
    made = RenditionGraph(rendition(320, 180), BT709).frame(shared)
    assert frame_number(made) == 0


def staged_first(video: VideoPlan, path: Path) -> av.VideoFrame:
    stage = SourceStage(replace(video, renditions=()))
    return stage.push(0, next(frames(path)), video.source.sample_aspect_ratio)[0][1]
