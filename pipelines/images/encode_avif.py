"""AVIF of one still: SVT-AV1 through PyAV, or libaom through libvips where SVT-AV1 cannot."""

import io
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.video.reformatter import Colorspace

from pipelines.images.cascade import vips_of
from pipelines.images.keeping import attach
from pipelines.pictures import EXACT, THREADS

if TYPE_CHECKING:
    from PIL.Image import Image

# SVT-AV1's preset. A 10 MP photo at 1600, 800, 400 and 150 px, all four at quality 60 (crf 25):
#   preset   4     5     6     7     8     9 and 10
#   CPU ms 693   329   270   180    85    59
#   KB      42    45    46    48    49    49
#   SSIM    .975  .975  .975  .974  .974  .974   (of the largest)
# At equal SSIM libaom at effort 0 needs as many bytes and as much time for grain, 9 to 15 % and half as much again for
# cleaner pictures; at effort 2 five to eight times the time for a few percent.
PRESET = 8
PRESET_OF_LARGE = 9  # 12 MP: 0.31 s instead of 0.37 s
LARGE_PIXELS = 8_000_000

# libaom's effort in libvips, at equal quality 0, 1, 2, 3: 100, 145, 425, 566 ms for 91, 89, 86, 78 KB.
EFFORT = 0

# SVT-AV1 takes neither a single pixel nor more than this.
SMALLEST_SIDE, LARGEST_SIZE = 2, (16_384, 8_704)

BT709, SRGB, BT601 = 1, 13, 6  # colour primaries, transfer characteristics, matrix coefficients of ISO/IEC 23091-2
FULL_RANGE = 2  # AVColorRange


def avif(picture: "Image", quality: int, *, profile: str = "", exif: bytes = b"") -> tuple[bytes, str]:
    """The file's bytes, and the encoder. SVT-AV1 writes no alpha, and PyAV neither profile nor EXIF."""
    small = min(picture.size) < SMALLEST_SIDE
    large = picture.width > LARGEST_SIZE[0] or picture.height > LARGEST_SIZE[1]
    if small or large or profile or exif or picture.mode == "RGBA":
        return _by_vips(picture, quality, profile, exif), "libaom"
    return _by_svt(picture, quality), "libsvtav1"


def crf_of(quality: int) -> int:
    """The quantizer that libavif gives a quality from 1 to 100."""
    return ((100 - quality) * 63 + 50) // 100


def _by_svt(picture: "Image", quality: int) -> bytes:
    preset = PRESET if picture.width * picture.height <= LARGE_PIXELS else PRESET_OF_LARGE
    options = {
        "crf": str(crf_of(quality)),
        "preset": str(preset),
        # one thread, because the farm fills its cores with pictures; tuned for a still
        "svtav1-params": "lp=1:avif=1",
    }
    file = io.BytesIO()
    with av.open(file, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=1, options=options)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = BT709, SRGB, BT601
        context.color_range = FULL_RANGE
        for packet in [*stream.encode(_yuv(picture)), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def _yuv(picture: "Image") -> av.VideoFrame:
    import numpy as np

    frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=FULL_RANGE,
        interpolation=EXACT,
        threads=THREADS,
    )
    frame.color_primaries, frame.color_trc, frame.colorspace = BT709, SRGB, BT601
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    return frame


def _by_vips(picture: "Image", quality: int, profile: str, exif: bytes) -> bytes:
    image, kept = attach(vips_of(picture), profile, exif)
    made: bytes = image.heifsave_buffer(compression="av1", Q=quality, effort=EFFORT, **kept)
    return made
