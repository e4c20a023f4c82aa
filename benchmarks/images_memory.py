"""Peak memory of the process that turns one picture, by the size and format of the picture: the recipe for feeds."""

import tempfile
from pathlib import Path
from typing import Any

import pyvips

from benchmarks.images_lanes import Lanes
from benchmarks.photos import SIZES, write_photos
from cluster.farm_settings import FarmSettings
from ladders.catalog import load_preset

RECIPE = "social"
LARGE = (11_520, 8_640)  # 99.5 megapixels, just below what is accepted
REACH_MB = {12: 250, 100: 700}
SAVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("large.jpg", {"Q": 88}),
    "progressive jpeg": ("progressive.jpg", {"Q": 88, "interlace": True}),
    "png": ("large.png", {"compression": 1, "filter": "sub"}),
    "webp": ("large.webp", {"Q": 80, "effort": 0}),
}


def peaks() -> dict[str, Any]:
    """MB of each, in a process that has turned nothing before."""
    image = load_preset(RECIPE).image
    assert image is not None, "the recipe is one of pictures"
    part = image.model_dump(mode="json")
    found: dict[str, Any] = {"recipe": RECIPE, "reach_mb": REACH_MB, "peak_rss_mb": {}}
    with tempfile.TemporaryDirectory() as name, Lanes(1, 1, FarmSettings.load()) as lanes:
        folder = Path(name)
        (photo,) = write_photos(folder, 12, 1)
        sources = {"12 MP jpeg": Path(photo)} | {f"100 MP {kind}": _large(folder, kind, photo) for kind in SAVERS}
        for what, path in sources.items():
            usage = lanes.first(str(path), folder / "out" / path.stem, part).usage
            found["peak_rss_mb"][what] = round(usage.peak_rss_bytes / 1e6)
    return found


def _large(folder: Path, kind: str, photo: str) -> Path:
    """The photo beside and below itself."""
    name, options = SAVERS[kind]
    times = [-(-side // small) for side, small in zip(LARGE, SIZES[12], strict=True)]
    image = pyvips.Image.new_from_file(photo).replicate(*times).crop(0, 0, *LARGE)
    image.write_to_file(str(folder / name), **options)
    return folder / name
