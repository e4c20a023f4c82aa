"""Frames of a video as JPEG and WebP pictures."""

from fractions import Fraction
from typing import cast

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

LIMITED, FULL = 1, 2  # AVColorRange
BT709 = 1  # AVColorTransferCharacteristic and AVColorPrimaries share the number
HDR_TRANSFERS = (16, 18)  # PQ, HLG
THREADS = 1
"""Of swscale, which takes one per core by default: from grey to 10 bits, 424 wide, each run with two gave another
picture. What is made here never did, and shall not."""

# Without these swscale rounds twice, and white comes out as a light grey.
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


class ToneMapper:
    """Fits PQ and HLG frames into a box as BT.709 SDR; other frames pass as they are.

    FFmpeg computes a table of some seconds for every mapper, so one serves as many frames as possible.
    """

    def __init__(self, box: tuple[int, int]) -> None:
        self._box = box
        self._scaler = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        if frame.color_trc not in HDR_TRANSFERS:
            return frame
        width, height = fitted(frame.width, frame.height, self._box)
        return self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=LIMITED,
            dst_color_trc=BT709,
            dst_color_primaries=BT709,
            interpolation=EXACT,
            threads=THREADS,
        )


class StillScaler:
    """Fits SDR frames into a box and gives them the colours that still pictures are stored in.

    JFIF and WebP know BT.601 only, JFIF in full range and WebP in limited.
    """

    def __init__(self, pixel_format: str, box: tuple[int, int]) -> None:
        self._format = pixel_format
        self._box = box
        self._scaler = VideoReformatter()  # keeps its tables from frame to frame

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        width, height = fitted(frame.width, frame.height, self._box)
        made = self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format=self._format,
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=FULL if self._format.startswith("yuvj") else LIMITED,
            interpolation=EXACT,
            threads=THREADS,
        )
        made.pict_type = 0
        return made


def fitted(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """Even sizes that fit into `box`, never larger than the picture; at least 2 × 2."""
    scale = min(Fraction(box[0], width), Fraction(box[1], height), Fraction(1))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def jpeg(picture: av.VideoFrame) -> bytes:
    """A JPEG of a frame that a full-range `StillScaler` made."""
    # bitexact: no version string; qmin = qmax: constant quality, 3 of 2 (best) … 31; one thread: no restart markers
    return _encoded("mjpeg", picture, {"flags": "+bitexact", "qmin": "3", "qmax": "3", "threads": "1"})


def webp(picture: av.VideoFrame) -> bytes:
    """A lossy WebP of a frame that a limited-range `StillScaler` made."""
    # method 4 of 0 … 6: beyond it the time doubles for 1 % of the bytes
    return _encoded("libwebp", picture, {"quality": "80", "compression_level": "4"})


def _encoded(codec: str, picture: av.VideoFrame, options: dict[str, str]) -> bytes:
    context = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
    context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.format.name
    context.time_base = Fraction(1, 1)
    context.color_range = picture.color_range
    context.options = options
    picture.pts, picture.time_base = 0, Fraction(1, 1)
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])
