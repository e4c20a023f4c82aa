"""A JPEG whose data ends early is refused by every engine, though decoders fill it up and only warn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import picture
from pipelines.errors import TruncatedMedia
from pipelines.images.header import examine
from pipelines.images.jpeg_end import is_damaged, may_be_filled
from pipelines.images.keeping import p3_profile
from pipelines.images.limits import ImageLimits
from pipelines.images.vips_engine import VipsEngine
from tests.support.still_sources import jpeg_file, photo, turned, whole

VARIANT = {"name": "a", "width": 320, "formats": ["webp"]}


def ended_early(path: Path, kept: float) -> Path:
    """The JPEG with a part of its data, and an end mark behind it."""
    data = path.read_bytes()
    start = data.index(b"\xff\xda")
    path.write_bytes(data[: start + int((len(data) - start) * kept)] + b"\xff\xd9")
    return path


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["srgb", "p3", "cmyk", "grey"])
def test_a_jpeg_that_ends_early_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    source = tmp_path / "photo.jpg"
    if kind == "cmyk":
        Image.fromarray(photo()).convert("CMYK").save(source, quality=90)
    else:
        pixels = photo()[..., 1] if kind == "grey" else photo()
        jpeg_file(source, pixels, icc_profile=p3_profile() if kind == "p3" else None)
    assert turned(source, tmp_path, [VARIANT]).images
    with pytest.raises(TruncatedMedia):
        turned(ended_early(source, kept), tmp_path, [VARIANT])


def test_other_warnings_refuse_nothing(tmp_path: Path) -> None:
    source = jpeg_file(tmp_path / "photo.jpg", photo(), icc_profile=p3_profile(), restart_marker_rows=4)
    data = source.read_bytes()
    end = data.rindex(b"\xff\xd9")
    restart = data.index(b"\xff\xd1")
    source.write_bytes(data[:restart] + bytes(7) + data[restart:end] + data[end:])  # extraneous bytes
    found = examine(str(source), ImageLimits())
    spec = whole((320, 240))
    assert VipsEngine(found.profile).render(str(source), found.header, [spec]).stills
    with pytest.raises(TruncatedMedia):
        VipsEngine(found.profile).render(str(ended_early(source, 0.05)), found.header, [spec])


def test_a_picture_may_be_filled_where_its_last_pixel_is_grey_or_its_last_row_is_flat() -> None:
    pixels = photo(64, 48)
    assert not may_be_filled(Image.fromarray(pixels))
    pixels[-8:, -8:] = 128
    assert may_be_filled(Image.fromarray(pixels))
    assert may_be_filled(Image.fromarray(np.full((48, 64, 3), 255, np.uint8)))


@pytest.mark.parametrize("size", [(320, 240), (1024, 768)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.95, 0.98, 0.995])
def test_not_even_the_last_rows_may_be_missing(
    tmp_path: Path, size: tuple[int, int], subsampling: int, kept: float
) -> None:
    source = tmp_path / "photo.jpg"
    picture(size, seed=3).save(source, quality=90, subsampling=subsampling)
    assert turned(source, tmp_path, [VARIANT]).engine == "pillow"
    with pytest.raises(TruncatedMedia):
        turned(ended_early(source, kept), tmp_path, [VARIANT])


def test_a_flat_end_refuses_no_odd_picture_that_is_whole(tmp_path: Path) -> None:
    source = tmp_path / "wall.jpg"
    Image.new("RGB", (640, 480), "white").save(source, restart_marker_rows=4)
    data = source.read_bytes()
    restart = data.index(b"\xff\xd1")
    for odd in (data[:restart] + bytes(7) + data[restart:], data[:-2] + bytes(5) + data[-2:], data + b"ftypmp42"):
        source.write_bytes(odd)
        assert turned(source, tmp_path, [VARIANT]).images


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_whatever_is_wrong_with_the_data_is_heard(tmp_path: Path, subsampling: int) -> None:
    source = tmp_path / "photo.jpg"
    picture((640, 480), seed=4).save(source, quality=90, subsampling=subsampling)
    sound = source.read_bytes()
    middle = len(sound) // 2
    assert not is_damaged(sound)
    assert not is_damaged(sound + b"\0\0\0\x18ftypmp42")  # a motion photo
    assert is_damaged(ended_early(source, 0.99).read_bytes())
    assert is_damaged(sound[:-500])
    assert is_damaged(sound[:middle] + sound[middle + 2_000 :])
    assert is_damaged(sound[:middle] + b"\xff\xd9")


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (17, 1_000)])
def test_small_pictures_are_not_damaged(tmp_path: Path, size: tuple[int, int]) -> None:
    source = tmp_path / "small.jpg"
    Image.new("RGB", size).save(source)
    assert not is_damaged(source.read_bytes())
