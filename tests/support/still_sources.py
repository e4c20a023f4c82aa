"""Pictures for the tests of the image part: drawn here, and what becomes of them."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.images.engine import StillSpec
from pipelines.images.limits import ImageLimits
from pipelines.images.turn import ImageRequest, ImageResult, turn_image
from tests.support.pictures import draw

Pixels = NDArray[np.uint8]
ORIENTATION, GPS_IFD = 274, 34853


def photo(width: int = 640, height: int = 480) -> Pixels:
    """Something like a photo: (height, width, 3) RGB, coarse and fine structures, mostly pale colours."""
    y, u, v = draw(1234, width, height).astype(np.float64)
    rgb = np.stack([y + 1.402 * (v - 128), y - 0.344 * (u - 128) - 0.714 * (v - 128), y + 1.772 * (u - 128)], axis=-1)
    return np.asarray(np.clip(rgb, 0, 255), dtype=np.uint8)


def with_alpha(pixels: Pixels) -> Pixels:
    """The same picture, from opaque on the left to invisible on the right."""
    height, width = pixels.shape[:2]
    alpha = np.broadcast_to(np.linspace(255, 0, width).astype(np.uint8), (height, width))
    return np.dstack([pixels, alpha])


def jpeg_file(path: Path, pixels: Pixels, **options: Any) -> Path:
    """A JPEG of quality 95, or as `options` say."""
    Image.fromarray(pixels).save(path, "JPEG", **({"quality": 95} | options))
    return path


def turned_jpeg(path: Path, upright: Pixels, orientation: int) -> Path:
    """A JPEG whose stored pixels `orientation` turns into `upright`."""
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return jpeg_file(path, np.ascontiguousarray(stored), exif=exif.tobytes())


def png_file(path: Path, pixels: Pixels) -> Path:
    """A PNG of grey, RGB or RGBA pixels."""
    Image.fromarray(pixels).save(path, "PNG")
    return path


def whole(size: tuple[int, int]) -> StillSpec:
    """A still of the whole picture."""
    return StillSpec(scaled=size, size=size)


def turned(source: Path, out_dir: Path, variants: Sequence[dict[str, Any]], **part: Any) -> ImageResult:
    """What becomes of `source` by a recipe of these variants; formats may be given by name."""
    named = [
        variant | {"formats": [one if isinstance(one, dict) else {"name": one} for one in variant["formats"]]}
        for variant in variants
    ]
    return turn_image(ImageRequest(str(source), str(out_dir), {"variants": named, **part}, ImageLimits()))


def riff_chunks(data: bytes) -> list[tuple[str, bytes]]:
    """The chunks of a WebP file, each with its name."""
    assert data[:4] == b"RIFF"
    assert data[8:12] == b"WEBP"
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8, "the RIFF's length is not the file's"
    found, at = [], 12
    while at < len(data):
        name, length = data[at : at + 4].decode("ascii"), struct.unpack_from("<I", data, at + 4)[0]
        found.append((name, data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    assert at == len(data)
    return found


def frame_delays_ms(data: bytes) -> list[int]:
    """How long each frame of an animated WebP is shown."""
    return [int.from_bytes(body[12:15], "little") for name, body in riff_chunks(data) if name == "ANMF"]


def loop_count(data: bytes) -> int:
    """How often an animated WebP is shown; 0 is for ever."""
    return int.from_bytes(dict(riff_chunks(data))["ANIM"][4:6], "little")
