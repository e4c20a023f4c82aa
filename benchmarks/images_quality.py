"""Are the pictures of all sides alike? Their sizes in pixels, their bytes, and SSIM against a float64 Lanczos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from benchmarks.lanczos import lanczos
from benchmarks.ssim import light_of, light_ssim
from pipelines.images.libraries import pillow


def compare(
    photos: Sequence[str], sides: Mapping[str, Path], sizes: Sequence[int], formats: Sequence[str], judged: int
) -> dict[str, Any]:
    """By side and format: bytes of one photo's pictures on average, and the mean SSIM of the first `judged` photos.

    `sides` are folders with N/SIZE.FORMAT. RuntimeError when the sides' pictures differ in size.
    """
    found = {side: {name: {"bytes": 0, "ssim": {}} for name in formats} for side in sides}
    for number, photo in enumerate(photos):
        light = light_of(pillow().open(photo)) if number < judged else None
        for size in sizes:
            _one(found, sides, number, size, formats, light)
    for name in formats:
        for side in sides:
            figures: dict[str, Any] = found[side][name]
            figures["bytes"] = round(figures["bytes"] / len(photos))
            figures["ssim"] = {size: round(float(np.mean(all_)), 4) for size, all_ in figures["ssim"].items()}
    return found


def _one(
    found: dict[str, dict[str, Any]],
    sides: Mapping[str, Path],
    number: int,
    size: int,
    formats: Sequence[str],
    light: np.ndarray | None,
) -> None:
    """All sides' pictures of one size of one photo."""
    wanted: tuple[int, int] | None = None
    reference: np.ndarray | None = None
    for name in formats:
        for side, folder in sides.items():
            path = file_of(folder, number, size, name)
            header = pyvips.Image.new_from_file(str(path))
            wanted = wanted or (header.width, header.height)
            if (header.width, header.height) != wanted:
                raise RuntimeError(f"{path}: {header.width}×{header.height}, others have {wanted}")
            figures = found[side][name]
            figures["bytes"] += path.stat().st_size
            if light is not None:
                reference = lanczos(light, wanted) if reference is None else reference
                figures["ssim"].setdefault(size, []).append(light_ssim(reference, light_of_file(path)))


def file_of(folder: Path, number: int, size: int, name: str) -> Path:
    """Where a side has put a picture; ours are named as they are published."""
    ours = folder / str(number) / "images"
    return ours / f"{size}.{'jpg' if name == 'jpeg' else name}" if ours.is_dir() else folder / f"{number}/{size}.{name}"


def light_of_file(path: Path) -> np.ndarray:
    """The light of a picture that libvips decodes, whatever its format."""
    return light_of_vips(pyvips.Image.new_from_file(str(path)))


def light_of_vips(image: Any) -> np.ndarray:
    """(height, width) float64."""
    pixels = np.ndarray((image.height, image.width, image.bands), np.uint8, image.write_to_memory())
    return light_of(pillow().fromarray(np.ascontiguousarray(pixels[..., :3])))
