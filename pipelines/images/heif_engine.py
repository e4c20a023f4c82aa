"""HEIC pixels: pillow-heif has the HEVC decoder that the libvips of the wheels has not."""

from typing import Any

from pipelines.errors import CorruptMedia, TruncatedMedia
from pipelines.images.libraries import heif, vips


def opened_heic(path: str) -> Any:
    """The primary picture as libvips' own, upright, 8 bits."""
    try:
        picture = heif().open_heif(path, convert_hdr_to_8bit=True)
        data, stride = bytes(picture.data), picture.stride
    except (ValueError, RuntimeError, OSError, EOFError, SyntaxError) as error:
        said = str(error)[:200]
        if "end of file" in said.lower() or "truncated" in said.lower():
            raise TruncatedMedia("the picture ends before all of it was read", detail={"decoder": said}) from error
        raise CorruptMedia("the picture cannot be decoded", detail={"decoder": said}) from error
    bands = len(picture.mode.partition(";")[0])
    width, height = picture.size
    image = vips().Image.new_from_memory(data, stride // bands, height, bands, "uchar").crop(0, 0, width, height)
    return image.copy(interpretation="srgb" if bands >= 3 else "b-w")
