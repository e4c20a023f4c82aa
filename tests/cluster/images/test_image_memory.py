"""What pictures are taken to need, beside what their processes take."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.images.process import ImageProcess
from cluster.media_process import Watch
from cluster.needs import PICTURES
from pipelines.confine import ProcessLimits
from pipelines.errors import NeedsMemory
from pipelines.images.limits import ImageLimits
from pipelines.images.request import ImageRequest

LIMITS = ProcessLimits(wall_s=60.0, stall_s=60.0, memory_bytes=4_000_000_000, cpu_s=100, file_bytes=200_000_000)
PHONE = (4032, 3024)
SCAN = (9000, 7000)
OWN_SIZE = 16_000  # px of width: none of these is wider


# In a process of its own: each media process of this one would be said to have taken as much, see getrusage(2).
MAKE = """
import sys, pyvips
path, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
image = pyvips.Image.perlin(width, height, cell_size=64, uchar=True)
image = image.bandjoin([image.rot180(), image.invert()]).copy(interpretation="srgb")
if path.endswith(".a.png"):
    image = image.bandjoin(image[1])
image.write_to_file(path, **({"interlace": True} if path.endswith(".p.jpg") else {}))
"""


def source(folder: Path, name: str, size: tuple[int, int]) -> Path:
    """With forms, so that encoders have work and files stay small; .p.jpg is progressive, .a.png has alpha."""
    path = folder / name
    subprocess.run([sys.executable, "-c", MAKE, str(path), *map(str, size)], check=True)
    return path


def asked(path: Path, width: int, kind: str, memory_bytes: int | None) -> ImageRequest:
    part = {"variants": [{"name": "made", "width": width, "formats": [{"name": kind}]}]}
    out = path.parent / f"out-{memory_bytes}"
    out.mkdir()
    return ImageRequest(str(path), str(out), part, ImageLimits(), memory_bytes)


@pytest.mark.parametrize(
    ("name", "size", "width", "kind"),
    [
        ("photo.jpg", PHONE, 1600, "webp"),
        ("photo.jpg", PHONE, OWN_SIZE, "webp"),
        ("photo.jpg", PHONE, OWN_SIZE, "avif"),
        ("photo.p.jpg", SCAN, 1600, "webp"),
        ("scan.png", SCAN, 1600, "jpeg"),
        ("drawing.a.png", PHONE, OWN_SIZE, "webp"),
        ("scan.tif", SCAN, OWN_SIZE, "jpeg"),
        ("photo.webp", PHONE, OWN_SIZE, "jpeg"),
    ],
)
def test_a_picture_takes_no_more_memory_than_was_foretold(
    tmp_path: Path, process: ImageProcess, name: str, size: tuple[int, int], width: int, kind: str
) -> None:
    path = source(tmp_path, name, size)
    with pytest.raises(NeedsMemory) as told:
        process.turn(asked(path, width, kind, 1), LIMITS, Watch())
    foretold = told.value.detail["memory_bytes"]
    taken = process.turn(asked(path, width, kind, foretold), LIMITS, Watch()).usage.peak_rss_bytes
    assert 0.2 * foretold < taken <= 1.05 * foretold


def test_a_photo_of_a_phone_goes_with_others_into_a_feed(tmp_path: Path, process: ImageProcess) -> None:
    path = source(tmp_path, "photo.jpg", PHONE)
    assert process.turn(asked(path, 1600, "avif", PICTURES.memory_bytes), LIMITS, Watch()).result.images
