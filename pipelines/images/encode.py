"""One still in one format."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladders.images import Avif, Jpeg, Png, Webp
from pipelines.errors import EncodeFailed
from pipelines.images.cascade import vips_of
from pipelines.images.encode_avif import avif
from pipelines.images.encode_webp import webp
from pipelines.images.engine import Color
from pipelines.images.keeping import P3, attach, p3_profile
from pipelines.images.libraries import pillow, vips

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIX = {"webp": "webp", "jpeg": "jpg", "avif": "avif", "png": "png"}

# zlib's level and the filter. The four stills of a 10 MP photo: level 3 107 ms and 2.71 MB, 6 320 ms and 2.58 MB,
# 9 2,019 ms and 2.44 MB; by Pillow at 6 940 ms and 2.51 MB. Without a filter drawings are 10 % smaller, photos 50 %
# larger.
PNG_LEVEL, PNG_FILTER = 6, "paeth"

OWN_TABLES_BELOW = 1_000_000  # px


@dataclass(frozen=True, slots=True)
class Keep:
    """What an output carries beside its pixels."""

    color: Color = "srgb"  # what the pixels mean; anything but sRGB is said by a profile
    exif: bytes = b""  # from its TIFF header on


def encoded(picture: "Image", wanted: Webp | Jpeg | Avif | Png, keep: Keep) -> tuple[bytes, str]:
    """The file's bytes, and the name of the encoder. The picture is RGB or RGBA; JPEG takes RGB alone."""
    profile = P3 if keep.color == "display-p3" else ""
    icc = p3_profile() if profile else b""
    try:
        match wanted:
            case Webp():
                return webp(picture, wanted.quality, profile=icc, exif=keep.exif), "libwebp"
            case Jpeg():
                return _jpeg(picture, wanted.quality, icc, keep.exif), "libjpeg-turbo"
            case Avif():
                return avif(picture, wanted.quality, profile=profile, exif=keep.exif)
            case Png():
                return _png(picture, profile, keep.exif), "libvips"
    except (OSError, ValueError, vips().Error) as error:
        raise EncodeFailed(f"no {wanted.name} was made", detail={"encoder": str(error)[:300]}) from error


def flattened(picture: "Image", background: str) -> "Image":
    """Without alpha: transparent parts show `background`, "#rrggbb"."""
    if picture.mode != "RGBA":
        return picture
    below: Image = pillow().new("RGB", picture.size, background)
    below.paste(picture, mask=picture)
    return below


def _jpeg(picture: "Image", quality: int, icc: bytes, exif: bytes) -> bytes:
    """Baseline 4:2:0, small ones with Huffman tables of their own.

    The four stills of a 10 MP photo: with common tables 6 ms and 180 KB, with their own 11 ms and 169 KB, progressive
    25 ms and 171 KB. Of the largest alone, own tables cost 8 ms and save 2 to 4 %: a tenth of the whole picture's time.
    """
    own_tables = picture.width * picture.height < OWN_TABLES_BELOW
    extra = {"icc_profile": icc or None, "exif": b"Exif\0\0" + exif if exif else b""}
    # A file of the kernel's: while Pillow encodes into one of Python's, no other thread of the process can do anything.
    with os.fdopen(os.memfd_create("jpeg"), "w+b") as file:
        picture.save(file, "JPEG", quality=quality, optimize=own_tables, subsampling="4:2:0", **extra)
        file.seek(0)
        return file.read()


def _png(picture: "Image", profile: str, exif: bytes) -> bytes:
    image, kept = attach(vips_of(picture), profile, exif)
    made: bytes = image.pngsave_buffer(compression=PNG_LEVEL, filter=PNG_FILTER, **kept)
    return made
