"""Whether a JPEG's data reached to its last row: where it did not, decoders fill up, and only warn.

libjpeg makes what is missing a middle grey; others repeat a colour. Who cannot hear the warning looks at the picture's
end, and asks FFmpeg and libvips, which do, where that looks made up.
"""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.error import FFmpegError

from pipelines.errors import TruncatedMedia
from pipelines.images.libraries import vips

if TYPE_CHECKING:
    from PIL.Image import Image

FILLED, NEAR = 128, 2  # what libjpeg fills with, and how far a resize may be off
END_OF_IMAGE = b"\xff\xd9"
ENDS_EARLY = "the picture's data ends before its last row"
TAIL_BYTES = 65_536  # zeros that some cameras pad a file with


def may_be_filled(picture: "Image") -> bool:
    """Whether the end of an RGB or grey picture, as it is stored and not turned upright, looks made up."""
    width, height = picture.size
    row = picture.crop((0, height - 1, width, height))
    last: Any = row.getpixel((width - 1, 0))
    if all(abs(value - FILLED) <= NEAR for value in (last if isinstance(last, tuple) else (last,))):
        return True
    extremes: Any = row.getextrema()
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return all(least == most for least, most in bands)


def refuse_filled(path: str) -> None:
    """TruncatedMedia when the JPEG at `path` ends before its last row. White walls pay with a reading at an eighth."""
    if _runs_out(Path(path).read_bytes()) and _is_last(path):
        raise TruncatedMedia(ENDS_EARLY)
    try:
        # FFmpeg does not know every JPEG; and libvips does not hear what libjpeg says of the last 64 rows.
        vips().Image.jpegload(os.fsencode(path), shrink=8, access="sequential", fail_on="warning").avg()
    except vips().Error as error:
        if ends_early(error, path):
            raise TruncatedMedia(ENDS_EARLY) from error


def is_damaged(jpeg: bytes) -> bool:
    """Whether FFmpeg finds anything wrong with the data of a JPEG, or does not know its kind; reads it at an eighth.

    For whoever decodes with what never says a word. To be called from many threads.
    """
    try:
        _read(jpeg, err_detect="explode")
    except FFmpegError:
        return True
    return False


def _runs_out(jpeg: bytes) -> bool:
    """Whether FFmpeg finds that the data is at its end before the picture is. Not for many threads: it sets its log."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logged, contextlib.suppress(FFmpegError):
            _read(jpeg)
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    return any(message.startswith("overread") for _, _, message in logged)


def _read(jpeg: bytes, **options: str) -> None:
    context = av.CodecContext.create("mjpeg", "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    context.options = {"lowres": "3", **options}  # 2 to the power of this
    context.decode(av.Packet(jpeg))


def ends_early(error: Exception, path: str) -> bool:
    """Whether libvips passes on that warning of libjpeg, among the many that mean no harm.

    Not where more follows the picture, as a phone's motion photo: nothing was cut off there, so it is as its maker left
    it, and every viewer shows it.
    """
    return "premature end" in str(error).lower() and _is_last(path)


def _is_last(path: str) -> bool:
    with Path(path).open("rb") as file:
        file.seek(max(0, Path(path).stat().st_size - TAIL_BYTES))
        return file.read().rstrip(b"\0").endswith(END_OF_IMAGE)
