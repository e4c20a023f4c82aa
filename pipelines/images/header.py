"""What a picture is, before anything of it is decoded: the gate's eyes, and the first wall.

The first bytes decide the format and never the name. Every limit is checked from the header; what passes can still be
rotten inside, which its decoder finds out. And a decoder may make another size of it than it claims: whoever decodes
compares.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

from pipelines.images import icc
from pipelines.images.colors import ADOBE_RGB, made_profile
from pipelines.images.exif_tags import is_adobe_rgb, orientation_of, tags_of
from pipelines.images.facts import Header, ImageFormat
from pipelines.images.formats import gif, heif, jpeg, png, tiff, webp
from pipelines.images.formats.found import Found
from pipelines.images.limits import ImageLimits
from pipelines.images.tiff_tags import TiffTags
from pipelines.signatures import HEAD_BYTES, require_picture

READERS: dict[ImageFormat, Callable[[BinaryIO, int, ImageLimits], Found]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "webp": webp.read,
    "gif": gif.read,
    "tiff": tiff.read,
    "avif": heif.read,
    "heif": heif.read,
}
NO_LIMITS = ImageLimits(**dict.fromkeys((one.name for one in fields(ImageLimits)), 1 << 62))  # for what is known


@dataclass(frozen=True, slots=True)
class Examined:
    """The header, and what else was found on the way."""

    header: Header
    duration_s: float  # of an animation, shown once; else 0
    profile: bytes | None  # ICC, to convert the pixels from: embedded, or made from tags; None for sRGB and for unknown
    exif: bytes | None = None  # a TIFF structure; a TIFF has none, being one itself


def examine(path: str, limits: ImageLimits) -> Examined:
    """The header of the picture at `path`, with the profile and the duration.

    Raises the RejectedMedia that says why it is none, or none that is taken here.
    """
    size = Path(path).stat().st_size
    limits.check("max_bytes", size, f"the file has {size:,} bytes")
    with Path(path).open("rb") as file:
        kind = require_picture(file.read(HEAD_BYTES))
        found = find(kind, file, size, limits)
        tags = TiffTags(file, size) if kind == "tiff" else tags_of(found.exif)
        return _examined(found, tags)


def find(kind: ImageFormat, file: BinaryIO, size: int, limits: ImageLimits) -> Found:
    """What the header of a picture of this format says."""
    return READERS[kind](file, size, limits)


def _examined(found: Found, tags: TiffTags) -> Examined:
    profile = icc.read_profile(found.profile) if found.profile else None
    usable = profile is not None and profile.suits(found.color_model)
    colors = found.colors
    if colors is None and found.format == "jpeg" and not usable and is_adobe_rgb(tags):
        colors = ADOBE_RGB
    is_srgb = profile.is_srgb if profile and usable else colors is None and found.color_model not in ("cmyk", "lab")
    embedded = found.profile if usable else None
    made = made_profile(colors, found.color_model) if colors else None
    header = Header(
        format=found.format,
        width=found.width,
        height=found.height,
        orientation=1 if found.turns_itself else orientation_of(tags),
        color_model=found.color_model,
        bits=found.bits,
        has_alpha=found.has_alpha,
        frames=found.frames,
        profile=profile.name if profile else None,
        is_srgb=is_srgb,
        unusual=found.unusual,
    )
    return Examined(header, found.duration_s, None if is_srgb else embedded or made, found.exif)
