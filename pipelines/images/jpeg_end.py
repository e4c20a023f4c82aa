"""Whether a JPEG's data reached to its last row: where it did not, decoders fill up, and only warn.

libjpeg makes what is missing a middle grey; others repeat a colour. Who cannot hear the warning looks at the picture's
end, and asks libvips, which does, where that looks made up.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import TruncatedMedia
from pipelines.images.libraries import vips

if TYPE_CHECKING:
    from PIL.Image import Image

FILLED, NEAR = 128, 2  # what libjpeg fills with, and how far a resize may be off
END_OF_IMAGE = b"\xff\xd9"
TAIL_BYTES = 65_536  # zeros that some cameras pad a file with
LEFT, TOP, RIGHT, BOTTOM = range(4)
# Where the last row as stored is in the upright picture, and where its last pixel, by EXIF orientation.
ENDS = {
    1: (BOTTOM, RIGHT), 2: (BOTTOM, LEFT), 3: (TOP, LEFT), 4: (TOP, RIGHT),
    5: (RIGHT, BOTTOM), 6: (LEFT, BOTTOM), 7: (LEFT, TOP), 8: (RIGHT, TOP),
}  # fmt: skip


def may_be_filled(picture: "Image", orientation: int = 1) -> bool:
    """Whether the end of an RGB or grey picture looks made up; `orientation` says how it was turned upright."""
    edge, corner = ENDS[orientation]
    row = _edge(picture, edge)
    last: Any = _edge(row, corner).getpixel((0, 0))
    if all(abs(value - FILLED) <= NEAR for value in (last if isinstance(last, tuple) else (last,))):
        return True
    extremes: Any = row.getextrema()
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return all(least == most for least, most in bands)


def _edge(picture: "Image", side: int) -> "Image":
    width, height = picture.size
    return picture.crop(
        {
            LEFT: (0, 0, 1, height),
            TOP: (0, 0, width, 1),
            RIGHT: (width - 1, 0, width, height),
            BOTTOM: (0, height - 1, width, height),
        }[side]
    )


def refuse_filled(path: str) -> None:
    """TruncatedMedia when the JPEG at `path` ends before its last row. White walls pay with a reading at an eighth."""
    try:
        vips().Image.jpegload(os.fsencode(path), shrink=8, access="sequential", fail_on="warning").avg()
    except vips().Error as error:
        if ends_early(error, path):
            raise TruncatedMedia("the picture's data ends before its last row") from error


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
