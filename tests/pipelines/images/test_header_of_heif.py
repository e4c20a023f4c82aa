"""What the header of a HEIF or AVIF file says."""

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.errors import (
    CorruptMedia,
    LimitExceeded,
    RejectedMedia,
    TruncatedMedia,
    UnsupportedMedia,
)
from pipelines.images.libraries import heif
from pipelines.images.limits import ImageLimits
from tests.support.image_bytes import (
    EXIF_6,
    P3,
    box,
    drawn,
    full_box,
    header_of,
    heif_file,
    ispe,
    seen,
)

PIXI = full_box(b"pixi", b"\3\x08\x08\x08")


def heic(mode: str = "RGB", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """A HEIC by libheif and x265."""
    file = io.BytesIO()
    heif().from_pillow(Image.new(mode, size)).save(file, quality=50, **options)
    return file.getvalue()


def avif(image: Any, **options: Any) -> bytes:
    data: bytes = image.heifsave_buffer(compression="av1", effort=0, **options)
    return data


def test_a_heic_tells_what_its_decoder_gives(tmp_path: Path) -> None:
    found = header_of(tmp_path, heic("RGBA"))
    assert (found.format, found.width, found.height, found.orientation) == ("heif", 64, 48, 1)
    assert (found.color_model, found.bits, found.has_alpha) == ("rgb", 8, True)
    assert not header_of(tmp_path, heic()).has_alpha


def test_an_avif_tells_depth_alpha_and_profile(tmp_path: Path) -> None:
    plain = header_of(tmp_path, avif(drawn()))
    assert (plain.format, plain.width, plain.bits, plain.has_alpha, plain.is_srgb) == ("avif", 64, 8, False, True)
    assert header_of(tmp_path, avif(drawn(bands=4))).has_alpha
    deep = drawn().cast("ushort").copy(interpretation="rgb16")
    assert header_of(tmp_path, avif(deep, bitdepth=10)).bits == 10


def test_a_file_that_turns_itself_is_upright_whatever_its_exif_says(tmp_path: Path) -> None:
    found = header_of(tmp_path, heic(exif=EXIF_6))
    opened = heif().open_heif(str(tmp_path / "upload"))
    assert (found.width, found.height) == opened.size
    assert found.orientation == 1


def test_a_heifs_turning_and_cutting_are_applied_in_its_order(tmp_path: Path) -> None:
    cut = box(b"clap", struct.pack(">IIIIIIII", 50, 1, 30, 1, 0, 1, 0, 1))
    turn, mirror = box(b"irot", b"\1"), box(b"imir", b"\0")
    for steps, size in (
        ([], (64, 48)),
        ([turn], (48, 64)),
        ([cut, turn], (30, 50)),
        ([mirror, box(b"irot", b"\2")], (64, 48)),
    ):
        found = header_of(tmp_path, heif_file({1: (b"hvc1", [ispe(64, 48), PIXI, *steps])}))
        assert (found.width, found.height, found.orientation) == (*size, 1)


def test_a_picture_of_tiles_has_the_colours_of_its_tiles(tmp_path: Path) -> None:
    tile = [ispe(32, 32), box(b"colr", b"prof", P3), box(b"hvcC", bytes(16) + b"\xfd\xfa" + bytes(8))]
    items = {1: (b"grid", [ispe(64, 48)]), 2: (b"hvc1", tile), 3: (b"hvc1", tile)}
    found = seen(tmp_path, heif_file(items, [(b"dimg", 1, 2), (b"dimg", 1, 3)]))
    assert (found.header.format, found.header.width, found.header.bits) == ("heif", 64, 10)
    assert found.profile == P3
    with pytest.raises(CorruptMedia, match="parts"):
        seen(tmp_path, heif_file(items))


def test_a_heifs_alpha_is_a_picture_of_its_own(tmp_path: Path) -> None:
    picture = (b"hvc1", [ispe(64, 48), PIXI])
    kind = full_box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    items = {1: picture, 2: (b"hvc1", [ispe(64, 48), kind])}
    assert header_of(tmp_path, heif_file(items, [(b"auxl", 2, 1)])).has_alpha
    depth = full_box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth\0")
    assert not header_of(tmp_path, heif_file({1: picture, 2: (b"hvc1", [depth])}, [(b"auxl", 2, 1)])).has_alpha


def test_the_colours_of_a_heif_are_told_by_its_code_points(tmp_path: Path) -> None:
    for primaries, transfer, is_srgb, has_profile in ((1, 13, True, False), (2, 2, True, False), (12, 13, False, True)):
        colour = box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, 6, 0x80))
        found = seen(tmp_path, heif_file({1: (b"av01", [ispe(64, 48), PIXI, colour])}))
        assert (found.header.is_srgb, found.profile is not None) == (is_srgb, has_profile)


def test_the_coding_decides_between_heif_and_avif_and_not_the_brand(tmp_path: Path) -> None:
    for brand in (b"mif1", b"heic", b"avif"):
        for coding, format_ in ((b"hvc1", "heif"), (b"av01", "avif")):
            assert header_of(tmp_path, heif_file({1: (coding, [ispe(64, 48), PIXI])}, brand=brand)).format == format_


def test_a_heif_that_is_too_large_or_without_a_picture_is_refused(tmp_path: Path) -> None:
    for items, error in (
        ({1: (b"hvc1", [ispe(60_000, 60_000), PIXI])}, LimitExceeded),
        ({1: (b"hvc1", [PIXI])}, CorruptMedia),
        ({1: (b"hvc1", [ispe(64, 48)])}, CorruptMedia),
        ({2: (b"hvc1", [ispe(64, 48), PIXI])}, CorruptMedia),
        ({1: (b"mime", [ispe(64, 48), PIXI])}, UnsupportedMedia),
    ):
        with pytest.raises(error):
            seen(tmp_path, heif_file(items))


def test_a_heic_with_its_end_missing_is_truncated(tmp_path: Path) -> None:
    data = heic()
    for end in (len(data) - 1, data.index(b"mdat") + 8):
        with pytest.raises(TruncatedMedia):
            seen(tmp_path, data[:end])
    with pytest.raises(RejectedMedia):
        seen(tmp_path, data[: data.index(b"iinf")])


def test_a_heif_of_another_coding_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMedia, match="vvc1"):
        seen(tmp_path, heic().replace(b"hvc1", b"vvc1"))


@pytest.mark.parametrize("kind", [b"hvc1", b"av01"], ids=["heic", "avif"])
def test_a_heif_too_large_for_its_decoders_names_the_setting(tmp_path: Path, kind: bytes) -> None:
    data = heif_file({1: (kind, [ispe(64, 48), box(b"hvcC", bytes(30))])})
    with pytest.raises(LimitExceeded, match="64×48") as caught:
        seen(tmp_path, data, ImageLimits(max_heif_pixels=64 * 48 - 1))
    assert caught.value.detail["setting"] == "FARM_IMAGE_LIMITS__MAX_HEIF_PIXELS"
    assert seen(tmp_path, data, ImageLimits(max_heif_pixels=64 * 48)).header.width == 64
