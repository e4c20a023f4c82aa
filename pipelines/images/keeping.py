"""What an output carries beside its pixels: a profile where they are not sRGB, the copyright where it was asked for."""

from functools import cache
from typing import Any

from pipelines.images.libraries import vips

P3 = "p3"  # libvips' name for its built-in Display P3 profile, of 480 bytes


@cache
def p3_profile() -> bytes:
    """Display P3 as an ICC profile."""
    return bytes(vips().Operation.call("profile_load", P3))


def attach(image: Any, profile: str, exif: bytes) -> tuple[Any, dict[str, Any]]:
    """The picture with EXIF attached, and what a saver of libvips must be told to write these and nothing else."""
    if exif:
        blob = b"Exif\0\0" + exif
        image = image.copy()
        image.set_type(vips().GValue.blob_type, "exif-data", blob)
    options: dict[str, Any] = {"keep": "exif" if exif else "none"}
    if profile:
        options["profile"] = profile
    return image, options
