"""What EXIF says about how a picture is to be shown (EXIF 3.0, DCF 2.0)."""

import io

from pipelines.images.tiff_tags import TiffTags

ORIENTATION, EXIF_IFD, COLOR_SPACE, INTEROP_IFD, INTEROP_INDEX = 274, 34665, 40961, 40965, 1
UNCALIBRATED = 0xFFFF  # a colour space: "not sRGB"


def tags_of(block: bytes | None) -> TiffTags:
    """The directories of an EXIF block; without any when there is none."""
    block = (block or b"").removeprefix(b"Exif\0\0")
    return TiffTags(io.BytesIO(block), len(block))


def orientation_of(tags: TiffTags) -> int:
    """What must be done to the stored pixels, 1 to 8; 1 when nothing sensible is said."""
    found = tags.directory(tags.first).number(ORIENTATION, 1)
    return found if 1 <= found <= 8 else 1


def is_adobe_rgb(tags: TiffTags) -> bool:
    """True when the camera says "not sRGB, and of the R03 kind", which means Adobe RGB (DCF 2.0)."""
    main = tags.directory(tags.first)
    exif = tags.directory(main.number(EXIF_IFD))
    interop = tags.directory(exif.number(INTEROP_IFD))
    return exif.number(COLOR_SPACE) == UNCALIBRATED and interop.text(INTEROP_INDEX) == "R03"
