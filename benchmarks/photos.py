"""Photos that are made, not taken: the same on every machine, with the spectrum and weight of a phone's JPEGs."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.errors import MediaError
from pipelines.images.jpeg_end import is_damaged
from pipelines.images.limits import ImageLimits
from pipelines.images.request import ImageRequest
from pipelines.images.turn import open_image

SIZES = {2: (1_632, 1_224), 12: (4_032, 3_024)}  # megapixels → px
QUALITY = 88
SUBSAMPLING = 2  # 4:2:0
_GRAIN = 8.0  # of a sensor, in levels: it makes the weight of 12 megapixels 4 MB, as a phone's have
_CONTRAST = 30.0  # of the coarsest forms …
_FALL = 0.7  # … and of each octave by the one before


def photo(megapixels: int, seed: int) -> bytes:
    """A JPEG of SIZES[megapixels]."""
    file = BytesIO()
    picture(SIZES[megapixels], seed).save(file, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
    return file.getvalue()


def write_photos(folder: Path, megapixels: int, count: int) -> list[str]:
    """The paths of `count` of them. Made on all cores: one of 12 megapixels takes seconds."""
    paths = [folder / f"{megapixels}-{number}.jpg" for number in range(count)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for path, content in zip(paths, pool.map(partial(photo, megapixels), range(count)), strict=True):
            path.write_bytes(content)
    return [str(path) for path in paths]


def photos_for_dali(folder: Path, part: dict[str, Any], say: Callable[[str], None]) -> dict[int, list[Path]]:
    """Those in the folder that the gate gives to DALI, by whole megapixels; ValueError when there are none.

    `part` is a recipe's image part; `say` is told why another is left out.
    """
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        try:
            opened = open_image(ImageRequest(str(path), str(folder), part, ImageLimits()), dali=True)
        except MediaError as error:
            say(f"{path}: {error}")
            continue
        width, height = opened.found.header.upright_size
        megapixels = round(width * height / 1e6)
        if opened.engine != "dali":
            say(f"{path}: {opened.why}")
        elif not megapixels:
            say(f"{path}: less than half a megapixel")
        elif is_damaged(path.read_bytes()):
            say(f"{path}: damaged")
        else:
            found.setdefault(megapixels, []).append(path)
    if not found:
        raise ValueError(f"{folder}: no JPEG that DALI would get")
    return found


def picture(size: tuple[int, int], seed: int) -> Image.Image:
    """Things with edges before a ground with forms of all sizes, in colours that change slowly; light and grain."""
    random = np.random.default_rng(seed)
    width, height = size
    luma = np.linspace(160.0, 80.0, height, dtype=np.float32)[:, None] + _octaves(random, size, 4, max(size))
    luma += 40 * np.tanh(_octaves(random, size, 6, 200) / 2) + random.normal(0, _GRAIN, (height, width))
    blue, red = (_octaves(random, size, 3, max(size) // 16) * 0.3 + 128 for _ in range(2))
    planes = [Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8)) for plane in (luma, blue, red)]
    return Image.merge("YCbCr", planes).convert("RGB")


def _octaves(random: np.random.Generator, size: tuple[int, int], first: int, last: int) -> np.ndarray:
    """(height, width) float32: noise with `first`, 2 × `first` … up to `last` waves over the longer side, around 0."""
    waves, strength, layers = first, _CONTRAST, []
    while waves <= last:
        cells = (max(2, waves * size[0] // max(size)), max(2, waves * size[1] // max(size)))
        noise = Image.fromarray(random.normal(0, strength, cells[::-1]).astype(np.float32))
        layers.append(np.asarray(noise.resize(size, Image.Resampling.BICUBIC)))
        waves, strength = waves * 2, strength * _FALL
    return reduce(np.add, layers)
