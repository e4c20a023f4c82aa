"""Which engine turns a picture: decided by its header alone, with the reason in words."""

from typing import Literal

from ladders.images import ImagePart
from pipelines.images.engine import jpeg_shrink
from pipelines.images.facts import Header

Engine = Literal["pillow", "vips", "dali"]

# Pillow holds the decoded picture whole, at 4 bytes a pixel; libvips reads it row by row.
LARGEST_IN_MEMORY = 25_000_000  # px


def choose_engine(header: Header, part: ImagePart, *, dali: bool) -> tuple[Engine, str]:
    """The engine and why; `dali` says that there is a GPU to decode on."""
    odd = _oddity(header, part)
    if odd:
        return "vips", odd
    if not dali:
        return "pillow", f"8-bit sRGB {header.format.upper()} without alpha"
    if header.format != "jpeg":
        return "pillow", f"{header.format.upper()}, which no GPU decodes"
    if header.unusual:
        return "pillow", f"{header.unusual} JPEG, which the GPU's decoder does not know or gets wrong"
    if header.color_model != "rgb":
        return "pillow", "grey JPEG, a third of the work on a CPU"
    return "dali", "baseline sRGB JPEG"


def _oddity(header: Header, part: ImagePart) -> str | None:
    """What Pillow would get wrong, or not get at all."""
    kind = header.format.upper()
    if header.format not in ("jpeg", "png"):
        return f"{kind}, which only the careful engine reads"
    if header.color_model not in ("rgb", "grey"):
        return f"{kind} in {'CMYK' if header.color_model == 'cmyk' else header.color_model} colours"
    if not header.is_srgb:
        return f'{kind} with the profile "{header.profile or "unnamed"}"'
    if header.bits != 8:
        return f"{kind} of {header.bits} bits a channel"
    if header.has_alpha:
        return f"{kind} with alpha"
    pixels = decoded_pixels(header, part)
    if pixels > LARGEST_IN_MEMORY:
        return f"{kind} of which {pixels / 1e6:.0f} megapixels are needed, read row by row"
    return None


def decoded_pixels(header: Header, part: ImagePart) -> int:
    """How many pixels a decoder must give for the largest variant; a JPEG can be decoded at 1/2, 1/4 and 1/8."""
    width, height = header.upright_size
    shrink = 1
    if header.format == "jpeg":
        needed = max(_needed(variant.width, variant.height, variant.fit, width, height) for variant in part.variants)
        shrink = jpeg_shrink(1 / needed)
    return (width // shrink) * (height // shrink)


def _needed(wanted_width: int | None, wanted_height: int | None, fit: str, width: int, height: int) -> float:
    """The scale, at most 1, that a variant needs of the picture."""
    scales = [wanted / side for wanted, side in ((wanted_width, width), (wanted_height, height)) if wanted]
    return min(1.0, min(scales) if fit == "inside" else max(scales))
