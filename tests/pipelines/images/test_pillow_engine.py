"""The fast engine: what it gives is what a slow resizer of the whole picture gives."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import CorruptMedia, TruncatedMedia
from pipelines.images.engine import StillSpec, decode_size
from pipelines.images.header import examine
from pipelines.images.limits import ImageLimits
from pipelines.images.pillow_engine import PillowEngine
from tests.support.likeness import lanczos, ssim
from tests.support.still_sources import jpeg_file, photo, png_file, turned_jpeg, whole


def render(path: Path, *wanted: StillSpec) -> list[Image.Image]:
    stills = PillowEngine().render(str(path), examine(str(path), ImageLimits()).header, wanted).stills
    return [stills[spec] for spec in wanted]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}], ids=str)
def test_every_still_of_a_jpeg_looks_like_the_whole_picture_shrunk(tmp_path: Path, options: dict[str, object]) -> None:
    path = jpeg_file(tmp_path / "photo.jpg", photo(1280, 960), **options)
    sizes = [(1280, 960), (900, 675), (640, 480), (400, 300), (161, 121), (150, 100)]
    decoded = np.asarray(Image.open(path))
    for size, still in zip(sizes, render(path, *map(whole, sizes)), strict=True):
        assert still.size == size
        assert still.mode == "RGB"
        assert ssim(np.asarray(still), lanczos(decoded, size)) > 0.97


@pytest.mark.parametrize("size", [(639, 479), (640, 480), (641, 481), (319, 240), (321, 240), (160, 121), (1279, 2)])
def test_a_jpeg_is_never_decoded_smaller_than_what_is_wanted(tmp_path: Path, size: tuple[int, int]) -> None:
    path = jpeg_file(tmp_path / "photo.jpg", photo(1280, 960))
    (still,) = render(path, whole(size))
    assert still.size == size
    if min(size) > 100:
        assert ssim(np.asarray(still), lanczos(np.asarray(Image.open(path)), size)) > 0.97


def test_what_is_decoded_holds_every_size_wanted(tmp_path: Path) -> None:
    header = examine(str(jpeg_file(tmp_path / "photo.jpg", photo(1280, 960))), ImageLimits()).header
    assert decode_size(header, [whole((640, 480)), whole((100, 75))]) == (640, 480)
    assert decode_size(header, [whole((64, 480)), whole((640, 48))]) == (640, 480)
    assert decode_size(header, [whole((2000, 10))]) == (1280, 960)


def test_a_grey_jpeg_gives_three_equal_channels(tmp_path: Path) -> None:
    path = jpeg_file(tmp_path / "grey.jpg", photo()[..., 1])
    (still,) = render(path, whole((320, 240)))
    pixels = np.asarray(still)
    assert still.mode == "RGB"
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert ssim(pixels, lanczos(np.dstack([photo()[..., 1]] * 3), (320, 240))) > 0.97


def test_a_png_is_shrunk_as_exactly(tmp_path: Path) -> None:
    path = png_file(tmp_path / "photo.png", photo())
    small, same = render(path, whole((320, 240)), whole((640, 480)))
    assert ssim(np.asarray(small), lanczos(photo(), (320, 240))) > 0.97
    assert (np.asarray(same) == photo()).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(tmp_path: Path, orientation: int) -> None:
    upright = photo(640, 400)
    path = turned_jpeg(tmp_path / "turned.jpg", upright, orientation)
    large, small = render(path, whole((600, 375)), whole((160, 100)))
    assert ssim(np.asarray(large), lanczos(upright, (600, 375))) > 0.95
    assert ssim(np.asarray(small), lanczos(upright, (160, 100))) > 0.95


def test_a_centred_cut_keeps_the_middle(tmp_path: Path) -> None:
    path = png_file(tmp_path / "photo.png", photo())
    (still,) = render(path, StillSpec(scaled=(640, 480), size=(100, 480)))
    assert (np.asarray(still) == photo()[:, 270:370]).all()


def test_an_attentive_cut_keeps_what_draws_the_eye(tmp_path: Path) -> None:
    pixels = np.full((300, 900, 3), 128, np.uint8)
    pixels[100:200, 700:800] = [230, 30, 30]
    path = png_file(tmp_path / "dot.png", pixels)
    (still,) = render(path, StillSpec(scaled=(900, 300), size=(300, 300), crop="attention"))
    assert (np.asarray(still)[..., 1] < 60).sum() == 100 * 100


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    make = jpeg_file if kind == "jpg" else png_file
    path = make(tmp_path / f"photo.{kind}", photo())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(TruncatedMedia):
        render(path, whole((320, 240)))


def test_a_png_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = png_file(tmp_path / "photo.png", photo())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(CorruptMedia):
        render(path, whole((320, 240)))
