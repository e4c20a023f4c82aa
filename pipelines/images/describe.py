"""What a picture looks like, computed from a small one of it: colours, placeholder, and a hash that finds its likes."""

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.images.facts import Looks
from pipelines.images.libraries import pillow
from pipelines.images.thumbhash import MAX_SIDE, thumbhash

if TYPE_CHECKING:
    from PIL.Image import Image

COLORS = 6
APART = 40  # of 765: colours nearer than this are the same to a reader of the palette
PALETTE_SIDE = 64  # px: the cut takes 7 ms for 150 px, and finds the same colours
OPAQUE = 128  # the least alpha of a pixel that counts as seen
HASH_SIDE = 32  # px, of the picture whose coarsest 8×8 frequencies are the hash
NOISE = 0.01  # frequencies below this are none: a flat picture has the same hash every time


def describe(picture: "Image") -> Looks:
    """The looks of a picture of at most about 150 px; what is transparent is not seen."""
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    picture = picture.convert("RGBA" if has_alpha else "RGB")
    return Looks(
        palette=_palette(picture),
        thumbhash=base64.b64encode(thumbhash(_pixels(_shrunk(picture, MAX_SIDE)))).decode(),
        perceptual_hash=_perceptual_hash(picture),
    )


def _shrunk(picture: "Image", side: int) -> "Image":
    width, height = picture.size
    longest = max(width, height)
    if longest <= side:
        return picture
    size = (max(1, width * side // longest), max(1, height * side // longest))
    return picture.resize(size, pillow().Resampling.BOX)


def _pixels(picture: "Image") -> Any:
    """Shape (height, width, 4), uint8 RGBA."""
    return np.asarray(picture.convert("RGBA"))


def _palette(picture: "Image") -> tuple[str, ...]:
    """The most frequent colours, each as an average of what is near it."""
    picture = _shrunk(picture, PALETTE_SIDE)
    if picture.mode == "RGBA":
        pixels = _pixels(picture)
        seen = np.ascontiguousarray(pixels[pixels[..., 3] >= OPAQUE][:, :3])
        if not len(seen):
            return ()
        picture = pillow().fromarray(seen[np.newaxis])
    few = picture.quantize(2 * COLORS, pillow().Quantize.MEDIANCUT)
    table = np.array(few.getpalette(), dtype=np.int64).reshape(-1, 3)
    counts = np.bincount(np.asarray(few).flatten(), minlength=len(table))
    kept: list[int] = []
    for index in sorted(range(len(table)), key=lambda index: (-counts[index], index)):
        if counts[index] and all(np.abs(table[index] - table[other]).sum() >= APART for other in kept):
            kept.append(index)
    return tuple("#" + bytes(table[index].astype(np.uint8)).hex() for index in kept[:COLORS])


def _perceptual_hash(picture: "Image") -> str:
    """One bit for each of the 64 coarsest frequencies of the brightness: above their median or not."""
    if picture.mode == "RGBA":
        below = pillow().new("RGBA", picture.size, "white")
        picture = pillow().alpha_composite(below, picture)
    grey = picture.convert("L").resize((HASH_SIDE, HASH_SIDE), pillow().Resampling.LANCZOS)
    waves = np.cos(np.pi / HASH_SIDE * np.outer(np.arange(8), np.arange(HASH_SIDE) + 0.5))
    coarse = waves @ np.asarray(grey, dtype=np.float64) @ waves.T / HASH_SIDE**2
    coarse[np.abs(coarse) < NOISE] = 0.0
    bits = (coarse > np.median(coarse)).flatten()
    return bytes(np.packbits(bits)).hex()
