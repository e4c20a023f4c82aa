"""The careful engine: profiles, colour models, depths and alpha come out as they were meant."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipelines.errors import CorruptMedia, RejectedMedia, TruncatedMedia, UnsupportedMedia
from pipelines.images.engine import StillSpec
from pipelines.images.header import examine
from pipelines.images.keeping import p3_profile
from pipelines.images.limits import ImageLimits
from pipelines.images.vips_engine import VipsEngine
from tests.support.likeness import ADOBE_RGB, DISPLAY_P3, delta_e, lanczos, ssim, to_srgb
from tests.support.still_sources import Pixels, jpeg_file, photo, png_file, turned, turned_jpeg, whole, with_alpha

LOSSLESS: dict[str, dict[str, Any]] = {"webp": {"lossless": True}, "avif": {"lossless": True, "compression": "av1"}}
FINE: dict[str, dict[str, Any]] = {"webp": {"Q": 95}, "avif": {"Q": 95, "compression": "av1"}}


def render(path: Path, *wanted: StillSpec) -> list[Pixels]:
    found = examine(str(path), ImageLimits())
    stills = VipsEngine(found.profile).render(str(path), found.header, wanted).stills
    return [np.asarray(stills[spec]) for spec in wanted]


def patches() -> Pixels:
    """27 flat colours, each 16×16, that lie within sRGB in the wider spaces too."""
    levels = np.array([[r, g, b] for r in (90, 128, 160) for g in (90, 128, 160) for b in (90, 128, 160)], np.uint8)
    return np.repeat(np.repeat(levels.reshape(3, 9, 3), 16, axis=0), 16, axis=1)


def saved(path: Path, pixels: Any, **options: Any) -> Path:
    interpretation = options.pop("interpretation", "srgb")
    pyvips.Image.new_from_array(pixels).copy(interpretation=interpretation).write_to_file(str(path), **options)
    return path


@pytest.mark.parametrize("kind", ["png", "tif", "webp", "avif"])
def test_display_p3_becomes_srgb_by_its_matrix(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / f"p3.{kind}", patches(), profile="p3", **LOSSLESS.get(kind, {}))
    (still,) = render(path, whole((144, 48)))
    assert delta_e(still, to_srgb(patches(), DISPLAY_P3)).max() < 2


def test_adobe_rgb_becomes_srgb_by_its_matrix(tmp_path: Path, adobe_rgb: bytes) -> None:
    path = tmp_path / "adobe.png"
    Image.fromarray(patches()).save(path, icc_profile=adobe_rgb)
    (still,) = render(path, whole((144, 48)))
    assert delta_e(still, to_srgb(patches(), ADOBE_RGB, gamma=563 / 256)).max() < 2


def test_display_p3_stays_as_it_is_where_it_is_wanted(tmp_path: Path) -> None:
    path = saved(tmp_path / "p3.png", patches(), profile="p3")
    kept, converted = render(path, StillSpec((144, 48), (144, 48), color="display-p3"), whole((144, 48)))
    assert np.abs(kept.astype(int) - patches()).max() <= 1
    assert np.abs(kept.astype(int) - converted).max() > 5


def test_print_colours_become_what_the_press_would_show(tmp_path: Path) -> None:
    cmyk = np.zeros((16, 80, 4), np.uint8)
    for number, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (191, 174, 166, 230)]):
        cmyk[:, 16 * number : 16 * number + 16] = ink
    path = saved(tmp_path / "inks.tif", cmyk, interpretation="cmyk")
    (still,) = render(path, whole((80, 16)))
    paper, cyan, magenta, yellow, black = (still[8, 16 * number + 8].astype(int) for number in range(5))
    assert paper.min() > 250
    assert cyan[0] < 60
    assert cyan[2] > 190
    assert magenta[1] < 60
    assert magenta[0] > 190
    assert yellow[2] < 60
    assert yellow[0] > 240
    assert black.max() < 28, "ink is never quite black, but is meant to be: 45 without black point compensation"


def test_16_bits_lose_at_most_one_step_of_8(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256 * 16).astype(np.uint16).reshape(16, 256)
    path = saved(tmp_path / "deep.png", np.dstack([ramp, ramp, ramp[::-1]]), interpretation="rgb16")
    (still,) = render(path, whole((256, 16)))
    assert np.abs(still[..., 0].astype(float) - ramp / 257).max() <= 1


def test_a_16_bit_picture_is_shrunk_as_exactly(tmp_path: Path) -> None:
    path = saved(tmp_path / "deep.png", photo().astype(np.uint16) * 257, interpretation="rgb16")
    (still,) = render(path, whole((320, 240)))
    assert ssim(still, lanczos(photo(), (320, 240))) > 0.97


def test_transparent_colours_do_not_bleed_into_visible_ones(tmp_path: Path) -> None:
    pixels = np.zeros((200, 200, 4), np.uint8)
    pixels[..., :3] = [0, 255, 0]
    pixels[50:150, 50:150] = [255, 0, 0, 255]
    path = png_file(tmp_path / "square.png", pixels)
    for still in render(path, whole((77, 77)), whole((33, 33))):
        seen = still[still[..., 3] > 8]
        assert seen[:, 1].max() < 40, "green lies under alpha 0 only"


def test_alpha_is_shrunk_like_a_channel(tmp_path: Path) -> None:
    path = png_file(tmp_path / "fading.png", with_alpha(photo()))
    (still,) = render(path, whole((320, 240)))
    expected = lanczos(np.dstack([with_alpha(photo())[..., 3]] * 3), (320, 240))[..., 0]
    assert np.abs(still[..., 3] - expected).max() <= 2


def test_grey_with_alpha_becomes_rgba(tmp_path: Path) -> None:
    grey = np.dstack([photo()[..., 1], np.full((480, 640), 200, np.uint8)])
    path = saved(tmp_path / "grey.png", grey, interpretation="b-w")
    (still,) = render(path, whole((320, 240)))
    assert still.shape == (240, 320, 4)
    assert (still[..., 0] == still[..., 2]).all()


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "fax.png"
    Image.fromarray(photo()[..., 1]).convert("1").save(path)
    (still,) = render(path, whole((640, 480)))
    assert set(np.unique(still)) == {0, 255}


def test_a_palette_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "palette.png"
    image = Image.fromarray(photo()).quantize(64)
    image.save(path)
    (still,) = render(path, whole((640, 480)))
    assert (still == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["webp", "tif", pytest.param("avif", marks=pytest.mark.slow), "gif", "heic"])
def test_other_containers_are_shrunk_as_exactly(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"photo.{kind}"
    if kind == "heic":
        import pillow_heif

        pillow_heif.from_pillow(Image.fromarray(photo(1280, 960))).save(path, quality=95)
    else:
        saved(path, photo(1280, 960), **FINE.get(kind, {}))
    for size in ((1280, 960), (500, 375), (160, 120)):
        (still,) = render(path, whole(size))
        assert still.shape[:2] == size[::-1]
        assert ssim(still, lanczos(photo(1280, 960), size)) > (0.9 if kind == "gif" else 0.97)


@pytest.mark.parametrize("shrink", [1.0, 1.9, 2.1, 3.9, 4.1, 8.5])
def test_jpegs_are_shrunk_as_exactly(tmp_path: Path, shrink: float) -> None:
    path = jpeg_file(tmp_path / "p3.jpg", photo(1280, 960), icc_profile=p3_profile())
    size = (round(1280 / shrink), round(960 / shrink))
    (still,) = render(path, whole(size))
    assert ssim(still, lanczos(to_srgb(np.asarray(Image.open(path)), DISPLAY_P3), size)) > 0.97


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(tmp_path: Path, orientation: int) -> None:
    upright = photo(640, 400)
    (still,) = render(turned_jpeg(tmp_path / "turned.jpg", upright, orientation), whole((320, 200)))
    assert ssim(still, lanczos(upright, (320, 200))) > 0.95


def test_the_first_page_of_a_document_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    pages = pyvips.Image.new_from_array(np.concatenate([photo(), photo()[::-1]])).copy(interpretation="srgb")
    pages.set_type(pyvips.GValue.gint_type, "page-height", 480)
    pages.tiffsave(str(path))
    (still,) = render(path, whole((640, 480)))
    assert (still == photo()).all()


@pytest.mark.parametrize("kept", [0.4, 0.95])
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "avif", "gif", "heic"])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    path = tmp_path / f"photo.{kind}"
    if kind == "heic":
        import pillow_heif

        pillow_heif.from_pillow(Image.fromarray(photo())).save(path, quality=95)
    else:
        saved(path, photo(), **({"compression": "av1"} if kind == "avif" else {}))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(RejectedMedia) as refused:
        render(path, whole((320, 240)))
    if kind not in ("gif", "tif"):  # whose parts lie anywhere
        assert isinstance(refused.value, TruncatedMedia), refused.value.detail


def test_a_png_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = png_file(tmp_path / "photo.png", with_alpha(photo()))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(CorruptMedia):
        render(path, whole((320, 240)))


def test_a_profile_of_another_colour_model_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    path = jpeg_file(tmp_path / "grey.jpg", photo()[..., 1], icc_profile=p3_profile())
    (still,) = render(path, whole((640, 480)))
    assert np.abs(still[..., 0].astype(int) - photo()[..., 1]).mean() < 2


def test_a_channel_that_is_no_alpha_is_left_out(tmp_path: Path) -> None:
    pixels = photo(64, 48)
    for name, colors in (("rgb", pixels), ("grey", pixels[..., :1])):
        extra = np.dstack([colors, np.full((48, 64), 100, np.uint8)])
        path = saved(tmp_path / f"{name}.tif", extra, interpretation="srgb" if name == "rgb" else "b-w")
        assert render(path, whole((64, 48)))[0].shape == (48, 64, 4)
        data = bytearray(path.read_bytes())
        tag = data.index(struct.pack("<HHI", 338, 3, 1)) + 8
        data[tag : tag + 2] = b"\0\0"  # no longer alpha, but something else
        path.write_bytes(data)
        (still,) = render(path, whole((64, 48)))
        assert still.shape == (48, 64, 3)
        assert np.abs(still.astype(int) - colors).max() <= 1
        assert len(turned(path, tmp_path, [{"name": name, "width": 32, "formats": ["jpeg", "webp"]}]).images) == 2


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.int8, np.uint32], ids=lambda kind: kind.__name__)
def test_a_tiff_of_other_than_whole_numbers_is_refused(tmp_path: Path, kind: Any) -> None:
    path = saved(tmp_path / "odd.tif", photo(64, 48).astype(kind), interpretation="rgb")
    with pytest.raises(UnsupportedMedia):
        render(path, whole((64, 48)))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16], ids=lambda kind: kind.__name__)
def test_a_tiff_of_whole_numbers_is_as_bright_as_it_was(tmp_path: Path, kind: Any) -> None:
    most = np.iinfo(kind).max
    pixels = (photo(64, 48) / 255.0 * most).astype(kind)
    interpretation = {np.uint8: "srgb", np.uint16: "rgb16"}[kind]
    path = saved(tmp_path / "deep.tif", pixels, interpretation=interpretation)
    (still,) = render(path, whole((64, 48)))
    assert np.abs(still.astype(int) - photo(64, 48)).max() <= 2


@pytest.fixture(name="adobe_rgb")
def _adobe_rgb() -> bytes:
    from pipelines.images.colors import ADOBE_RGB as MEANT
    from pipelines.images.colors import made_profile

    made = made_profile(MEANT, "rgb")
    assert made is not None
    return made
