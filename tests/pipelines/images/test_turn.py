"""One picture becomes many: files, facts, and what must not be among them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipelines.errors import CorruptMedia, LimitExceeded
from pipelines.images.cascade import cut
from pipelines.images.encode import Keep, encoded
from pipelines.images.engine import Rendered, StillSpec
from pipelines.images.keeping import p3_profile
from pipelines.images.limits import ImageLimits
from pipelines.images.pillow_engine import PillowEngine
from pipelines.images.turn import ImageRequest, finish, open_image, turn_image
from tests.support.still_sources import GPS_IFD, jpeg_file, photo, png_file, turned, with_alpha


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


def size_of(path: Path) -> tuple[int, int]:
    image = pyvips.Image.new_from_file(str(path))
    return image.width, image.height


def test_every_variant_is_made_in_every_format_in_the_recipes_order(tmp_path: Path) -> None:
    source = jpeg_file(tmp_path / "photo.jpg", photo())
    variants = [
        {"name": "small", "width": 100, "formats": ["jpeg", "webp", "avif", "png"]},
        {"name": "square", "width": 64, "height": 64, "fit": "cover", "formats": ["webp"]},
        {"name": "large", "width": 2000, "formats": ["jpeg"]},
    ]
    result = turned(source, tmp_path, variants)
    assert [one.path for one in result.images] == [
        *(f"images/small.{suffix}" for suffix in ("jpg", "webp", "avif", "png")),
        "images/square.webp",
        "images/large.jpg",
    ]
    for one in result.images:
        file = tmp_path / one.path
        assert size_of(file) == (one.width, one.height)
        assert file.stat().st_size == one.bytes
    assert {one.path: (one.width, one.height) for one in result.images}["images/square.webp"] == (64, 64)
    assert size_of(tmp_path / "images/large.jpg") == (640, 480)
    assert result.engine == "pillow"
    assert {one.format: one.encoder for one in result.images} == {
        "jpeg": "libjpeg-turbo",
        "webp": "libwebp",
        "avif": "libsvtav1",
        "png": "libvips",
    }
    assert set(result.stages_s) == {"header", "decode", "resize", "encode", "describe", "prove"}
    assert "images/large.jpg" in result.picture_html


def test_the_record_says_what_the_source_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271], exif[272] = 6, "Kamera", "Eins"
    source = jpeg_file(tmp_path / "photo.jpg", photo(), exif=exif.tobytes())
    facts = turned(source, tmp_path, [{"name": "a", "width": 90, "formats": ["webp"]}]).facts
    assert (facts.format, facts.width, facts.height, facts.orientation) == ("jpeg", 480, 640, 6)
    assert facts.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert facts.size_bytes == source.stat().st_size
    assert facts.exif.camera == "Kamera Eins"
    assert facts.looks.thumbhash
    assert not facts.is_animated


def test_equal_outputs_are_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(picture: Any, wanted: Any, keep: Keep) -> tuple[bytes, str]:
        calls.append(wanted.name)
        return encoded(picture, wanted, keep)

    monkeypatch.setattr("pipelines.images.produce.encoded", counted)
    source = jpeg_file(tmp_path / "photo.jpg", photo())
    variants = [
        {"name": "one", "width": 5000, "formats": ["webp"]},
        {"name": "two", "width": 4000, "formats": ["webp", "jpeg"]},
        {"name": "three", "width": 4000, "formats": [{"name": "webp", "quality": 50}]},
        {"name": "four", "width": 4000, "formats": ["webp"], "alpha": "flatten", "background": "#123456"},
    ]
    result = turned(source, tmp_path, variants)
    assert len(calls) == 3
    assert len(result.images) == 5
    same = [(tmp_path / f"images/{name}.webp").read_bytes() for name in ("one", "two", "four")]
    assert same[0] == same[1] == same[2]
    assert (tmp_path / "images/three.webp").stat().st_size < len(same[0])


def test_alpha_is_kept_or_shows_the_background(tmp_path: Path) -> None:
    source = png_file(tmp_path / "logo.png", with_alpha(photo()))
    variants = [
        {"name": "kept", "width": 100, "formats": ["webp", "png", "avif", "jpeg"], "background": "#00ff00"},
        {"name": "flat", "width": 100, "formats": ["webp"], "alpha": "flatten", "background": "#ff0000"},
    ]
    result = turned(source, tmp_path, variants)
    bands = {one.path: pyvips.Image.new_from_file(str(tmp_path / one.path)).bands for one in result.images}
    assert bands == {
        "images/kept.webp": 4,
        "images/kept.png": 4,
        "images/kept.avif": 4,
        "images/kept.jpg": 3,
        "images/flat.webp": 3,
    }
    right = pyvips.Image.new_from_file(str(tmp_path / "images/kept.jpg")).numpy()[30, 98]
    assert np.abs(right.astype(int) - [0, 255, 0]).max() < 20
    right = pyvips.Image.new_from_file(str(tmp_path / "images/flat.webp")).numpy()[30, 98]
    assert np.abs(right.astype(int) - [255, 0, 0]).max() < 20


def test_wide_colours_are_kept_where_they_are_wanted_and_there(tmp_path: Path) -> None:
    wide = jpeg_file(tmp_path / "wide.jpg", photo(), icc_profile=p3_profile())
    plain = jpeg_file(tmp_path / "plain.jpg", photo())
    wanted = [
        {"name": "p3", "width": 100, "color": "display-p3", "formats": ["webp", "jpeg"]},
        {"name": "srgb", "width": 100, "formats": ["webp"]},
    ]
    for source, profiles in ((wide, [True, True, False]), (plain, [False, False, False])):
        result = turned(source, tmp_path / source.stem, wanted)
        files = [pyvips.Image.new_from_file(str(tmp_path / source.stem / one.path)) for one in result.images]
        assert [file.get_typeof("icc-profile-data") != 0 for file in files] == profiles


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("copyright_", ["strip", "keep"])
def test_nothing_private_gets_into_an_output(tmp_path: Path, kind: str, copyright_: str) -> None:
    exif = Image.Exif()
    exif[315], exif[33432], exif[272], exif[270] = "ARTIST-9431", "NOTICE-9431", "SECRET-9431", "SECRET-9431"
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 8.0, 15.0), 3: "E", 4: (11.0, 34.0, 31.0)})
    source = tmp_path / f"photo.{kind}"
    private: dict[str, Any] = {"comment": b"SECRET-9431", "xmp": b"<x>SECRET-9431</x>"} if kind == "jpg" else {}
    Image.fromarray(photo()).save(source, exif=exif.tobytes(), **private)
    assert b"SECRET-9431" in source.read_bytes()
    variants = [{"name": "a", "width": 640, "formats": ["webp", "jpeg", "avif", "png"]}]
    result = turned(source, tmp_path, variants, copyright=copyright_, location="record")
    assert result.facts.exif.location is not None
    assert result.facts.exif.location.latitude_deg == pytest.approx(48.1375)
    for one in result.images:
        data = (tmp_path / one.path).read_bytes()
        assert b"SECRET-9431" not in data
        assert (b"NOTICE-9431" in data) == (b"ARTIST-9431" in data) == (copyright_ == "keep")
        image = pyvips.Image.new_from_file(str(tmp_path / one.path))
        assert not [name for name in image.get_fields() if "GPS" in name or "xmp" in name]


def test_the_bytes_of_all_outputs_together_are_limited(tmp_path: Path) -> None:
    source = jpeg_file(tmp_path / "photo.jpg", photo())
    part = {"variants": [{"name": "a", "width": 640, "formats": [{"name": "png"}, {"name": "jpeg"}]}]}
    with pytest.raises(LimitExceeded) as refused:
        turn_image(ImageRequest(str(source), str(tmp_path), part, ImageLimits(max_output_bytes=20_000)))
    assert refused.value.detail["limit"] == "max_output_bytes"


def test_an_avif_that_would_be_too_large_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    source = jpeg_file(tmp_path / "photo.jpg", photo())
    limits = ImageLimits(max_avif_pixels=320 * 240)
    for width, name, fits in ((320, "avif", True), (321, "avif", False), (640, "webp", True)):
        part = {"variants": [{"name": "a", "width": width, "formats": [{"name": name}]}]}
        request = ImageRequest(str(source), str(tmp_path), part, limits)
        if fits:
            assert open_image(request).wanted
            continue
        with pytest.raises(LimitExceeded, match='"a"') as refused:
            open_image(request)
        assert refused.value.detail["setting"] == "FARM_IMAGE_LIMITS__MAX_AVIF_PIXELS"


def test_what_pillow_cannot_decode_libvips_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Rendered:
        raise CorruptMedia("it is odd")

    monkeypatch.setattr(PillowEngine, "render", refuse)
    source = jpeg_file(tmp_path / "photo.jpg", photo())
    wanted = [{"name": "a", "width": 100, "formats": ["webp"]}]
    result = turned(source, tmp_path, wanted)
    assert result.engine == "vips"
    assert "it is odd" in result.why
    source.write_bytes(source.read_bytes()[:5000])
    with pytest.raises(CorruptMedia, match="it is odd"):
        turned(source, tmp_path, wanted)


def test_another_engine_can_do_the_middle(tmp_path: Path) -> None:
    source = jpeg_file(tmp_path / "photo.jpg", photo())
    part = {"variants": [{"name": "a", "width": 64, "height": 64, "fit": "cover", "formats": [{"name": "png"}]}]}
    opened = open_image(ImageRequest(str(source), str(tmp_path), part, ImageLimits()), dali=True)
    assert opened.engine == "dali"

    def still(spec: StillSpec) -> Image.Image:
        return cut(Image.fromarray(photo()).resize(spec.scaled), spec)

    result = finish(opened, Rendered({spec: still(spec) for spec in opened.wanted}, {"decode": 0.5}))
    assert result.engine == "dali"
    assert result.stages_s["decode"] == 0.5
    assert size_of(tmp_path / "images/a.png") == (64, 64)
