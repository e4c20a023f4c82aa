"""The encoders: colours, alpha, sizes, and what an output carries beside its pixels."""

import io
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from ladders.images import Avif, Jpeg, Png, Webp
from pipelines.images.encode import Keep, encoded, flattened
from pipelines.images.encode_avif import crf_of
from pipelines.images.exif import copyright_exif
from pipelines.images.facts import ExifFacts
from pipelines.images.keeping import p3_profile
from tests.support.likeness import delta_e, ssim
from tests.support.still_sources import Pixels, photo, riff_chunks, with_alpha

FORMATS: list[Webp | Jpeg | Avif | Png] = [Webp(), Jpeg(), Avif(), Png()]
NAMES = [one.name for one in FORMATS]
COLORS = ["#ff0000", "#00ff00", "#0000ff", "#ffffff", "#000000", "#808080", "#c8783c", "#1e5aa0", "#ffff00", "#00ffff"]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


def decoded(data: bytes) -> Pixels:
    return np.asarray(pyvips.Image.new_from_buffer(data, "").numpy())


def fields(data: bytes) -> pyvips.Image:
    return pyvips.Image.new_from_buffer(data, "")


def made(pixels: Pixels, wanted: Any, keep: Keep | None = None) -> bytes:
    return encoded(Image.fromarray(pixels), wanted, keep or Keep())[0]


@pytest.mark.parametrize("wanted", FORMATS, ids=NAMES)
@pytest.mark.parametrize("size", [(97, 65), (640, 480), (33, 64)], ids=str)
def test_flat_colours_come_back(wanted: Any, size: tuple[int, int]) -> None:
    for color in COLORS:
        flat = np.asarray(Image.new("RGB", size, color))
        back = decoded(made(flat, wanted))
        assert back.shape == flat.shape
        assert delta_e(back, flat).mean() < 2, color


@pytest.mark.parametrize("wanted", FORMATS, ids=NAMES)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 1), (1, 40), (7, 5), (63, 65), (301, 199)], ids=str)
def test_every_size_can_be_encoded(wanted: Any, size: tuple[int, int]) -> None:
    flat = np.asarray(Image.new("RGB", size, "#c8783c"))
    back = decoded(made(flat, wanted))
    assert back.shape[:2] == size[::-1]
    assert delta_e(back, flat).mean() < 3


@pytest.mark.parametrize("wanted", [Webp(quality=90), Jpeg(quality=90), Avif(quality=80), Png()], ids=NAMES)
def test_a_photo_comes_back(wanted: Any) -> None:
    assert ssim(decoded(made(photo(), wanted)), photo()) > 0.95


@pytest.mark.parametrize("name", [Webp, Jpeg, Avif])
def test_more_quality_means_more_bytes_and_more_likeness(name: Any) -> None:
    low, high = (made(photo(), name(quality=quality)) for quality in (30, 90))
    assert len(low) * 1.5 < len(high)
    assert ssim(decoded(low), photo()) < ssim(decoded(high), photo())


def test_qualities_of_avif_are_those_of_libavif() -> None:
    assert [crf_of(quality) for quality in (100, 80, 60, 50, 1)] == [0, 13, 25, 32, 62]


@pytest.mark.parametrize("wanted", [Webp(), Avif(), Png()], ids=["webp", "avif", "png"])
def test_alpha_survives(wanted: Any) -> None:
    pixels = with_alpha(photo())
    back = decoded(made(pixels, wanted))
    assert back.shape == pixels.shape
    assert np.abs(back[..., 3].astype(int) - pixels[..., 3]).mean() < 3


def test_an_alpha_that_hides_nothing_costs_nothing() -> None:
    opaque = np.dstack([photo(), np.full((480, 640), 255, np.uint8)])
    assert made(opaque, Webp()) == made(photo(), Webp())


def test_transparent_parts_show_the_background() -> None:
    pixels = np.zeros((10, 30, 4), np.uint8)
    pixels[..., 0] = 255
    pixels[:, 10:20, 3] = 128
    pixels[:, 20:, 3] = 255
    flat = np.asarray(flattened(Image.fromarray(pixels), "#0000ff"))
    assert flat.shape == (10, 30, 3)
    assert flat[5, 5].tolist() == [0, 0, 255]
    assert np.abs(flat[5, 15].astype(int) - [128, 0, 127]).max() <= 1
    assert flat[5, 25].tolist() == [255, 0, 0]


@pytest.mark.parametrize("wanted", FORMATS, ids=NAMES)
def test_srgb_carries_nothing_beside_its_pixels(wanted: Any) -> None:
    image = fields(made(photo(), wanted))
    assert not [name for name in image.get_fields() if name.endswith("-data") or name.startswith("exif-")]


@pytest.mark.parametrize("wanted", FORMATS, ids=NAMES)
@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
def test_display_p3_says_so_by_its_profile(wanted: Any, alpha: bool) -> None:
    if alpha and wanted.name == "jpeg":
        pytest.skip("JPEG has no alpha")
    data = made(with_alpha(photo()) if alpha else photo(), wanted, Keep("display-p3"))
    image = fields(data)
    assert image.get("icc-profile-data") == p3_profile()
    assert len(p3_profile()) < 600
    assert image.get_typeof("exif-data") == 0
    assert image.hasalpha() == alpha
    assert ssim(image.numpy(), photo()) > 0.9


@pytest.mark.parametrize("wanted", FORMATS, ids=NAMES)
@pytest.mark.parametrize("color", ["srgb", "display-p3"])
def test_the_copyright_stays_and_nothing_else(wanted: Any, color: Any) -> None:
    exif = copyright_exif(ExifFacts(artist="Ada Lovelace", copyright="© 1843 Ada"))
    data = made(photo(), wanted, Keep(color, exif))
    found = Image.Exif()
    found.load(fields(data).get("exif-data"))
    assert found[315] == "Ada Lovelace"
    assert "1843 Ada" in found[33432]
    # libvips adds what EXIF demands (upright, resolution, version, size); nothing of the source is among it.
    assert set(found) <= {315, 33432, 274, 282, 283, 296, 34665}
    assert found.get(274, 1) == 1
    assert not found.get_ifd(34853)


def test_a_webp_with_a_profile_and_alpha_says_both_in_its_header() -> None:
    data = made(with_alpha(photo()), Webp(), Keep("display-p3", copyright_exif(ExifFacts(artist="Ada"))))
    chunks = riff_chunks(data)
    assert [name for name, _ in chunks] == ["VP8X", "ICCP", "ALPH", "VP8 ", "EXIF"]
    assert chunks[0][1][0] == 0x20 | 0x10 | 0x08
    assert chunks[0][1][4:] == (639).to_bytes(3, "little") + (479).to_bytes(3, "little")


def test_a_jpeg_is_baseline_with_tables_of_its_own() -> None:
    data = made(photo(), Jpeg())
    assert b"\xff\xc0" in data
    assert b"\xff\xc2" not in data
    common = io.BytesIO()
    Image.fromarray(photo()).save(common, "JPEG", quality=80)
    assert len(data) < common.tell()


def test_pillow_encodes_a_jpeg_into_a_file_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it holds Python's lock meanwhile, and the threads of a GPU's process encode one after the other."""
    descriptors: list[int] = []
    save = Image.Image.save

    def watched(picture: Image.Image, file: Any, *arguments: Any, **options: Any) -> None:
        descriptors.append(file.fileno())
        save(picture, file, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", watched)
    data, _ = encoded(Image.new("RGB", (64, 48), "red"), Jpeg(), Keep())
    assert len(descriptors) == 1
    assert Image.open(io.BytesIO(data)).size == (64, 48)
