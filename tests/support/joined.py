"""Small files as the join and the audio step leave them: what packaging and stills start from."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Picture = Callable[[int], NDArray[np.uint8]]


def moving_bars(width: int, height: int) -> Picture:
    """Frame number -> (height, width, 3) uint8 RGB: bars that move, so that every frame differs."""
    across = np.arange(width)[None, :, None] + np.zeros((height, 1, 3), int)
    down = np.arange(height)[:, None, None]

    def picture(number: int) -> NDArray[np.uint8]:
        rgb: NDArray[np.uint8] = ((across * 255 // width + down + number * np.array([3, 5, 7])) % 256).astype(np.uint8)
        return rgb

    return picture


def plain(width: int, height: int, colors: Callable[[int], Sequence[int]]) -> Picture:
    """Frame number -> a picture of one RGB colour."""

    def picture(number: int) -> NDArray[np.uint8]:
        return np.full((height, width, 3), colors(number), np.uint8)

    return picture


def write_video(
    path: Path,
    *,
    width: int = 160,
    height: int = 90,
    frames: int = 60,
    rate: Fraction = Fraction(30),
    gop: int = 30,
    codec: str = "libx264",
    picture: Picture | None = None,
) -> Path:
    """A progressive MP4 with B frames, closed GOPs of `gop` frames and BT.709 limited-range pictures."""
    options = {
        "libx264": {
            "preset": "veryfast",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes=2",
        },
        "libx265": {
            "preset": "ultrafast",
            "x265-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:log-level=0",
        },
        "libsvtav1": {"preset": "11", "svtav1-params": f"keyint={gop}:irefresh-type=2"},
    }[codec]
    draw = picture or moving_bars(width, height)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = 1 / rate
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        if codec == "libx265":
            context.codec_tag = "hvc1"
        for number in range(frames):
            rgb = av.VideoFrame.from_ndarray(draw(number), "rgb24")
            frame = rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base, frame.pict_type = number, 1 / rate, 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_aac(path: Path, *, seconds: float = 2.0, language: str = "eng", hertz: float = 440.0) -> Path:
    """A tone as AAC-LC in an MP4 whose edit list hides the encoder's priming samples."""
    rate = 48_000
    count = round(seconds * rate)
    tone = (0.3 * np.sin(2 * np.pi * hertz * np.arange(count) / rate)).astype(np.float32)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rate, layout="stereo", options={"flags": "+bitexact"})
        stream.codec_context.bit_rate = 64_000
        stream.metadata["language"] = language
        for start in range(0, count, 1024):
            block = tone[start : start + 1024]
            frame = av.AudioFrame.from_ndarray(np.stack([block, block]), "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
