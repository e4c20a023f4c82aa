"""What the header of a PNG says."""

import random
import struct
import zlib
from pathlib import Path

import pytest

from pipelines.errors import (
    CorruptMedia,
)
from pipelines.images.colors import P3_PRIMARIES, SRGB_PRIMARIES
from tests.support.image_bytes import (
    EXIF_6,
    P3,
    chunk,
    header_of,
    png,
    seen,
)


@pytest.mark.parametrize(
    ("kind", "bits", "model", "alpha"),
    [(0, 1, "grey", False), (0, 16, "grey", False), (2, 8, "rgb", False), (4, 16, "grey", True), (6, 8, "rgb", True)],
)
def test_a_png_tells_its_colours(tmp_path: Path, kind: int, bits: int, model: str, alpha: bool) -> None:
    found = header_of(tmp_path, png((30, 20), bits=bits, kind=kind))
    assert (found.format, found.width, found.height) == ("png", 30, 20)
    assert (found.color_model, found.bits, found.has_alpha) == (model, bits, alpha)


def test_a_png_with_a_palette_is_indexed_and_its_transparency_is_alpha(tmp_path: Path) -> None:
    palette = chunk(b"PLTE", bytes(6))
    assert header_of(tmp_path, png(bits=2, kind=3, extra=[palette])).color_model == "indexed"
    assert header_of(tmp_path, png(bits=2, kind=3, extra=[palette, chunk(b"tRNS", b"\0")])).has_alpha
    assert header_of(tmp_path, png(extra=[chunk(b"tRNS", bytes(6))])).has_alpha
    with pytest.raises(CorruptMedia, match="palette"):
        seen(tmp_path, png(bits=2, kind=3))


def test_the_colours_of_a_png_are_those_of_its_strongest_chunk(tmp_path: Path) -> None:
    wide = struct.pack(">8I", *(round(v * 100_000) for v in (*P3_PRIMARIES[6:], *P3_PRIMARIES[:6])))
    srgb = struct.pack(">8I", *(round(v * 100_000) for v in (*SRGB_PRIMARIES[6:], *SRGB_PRIMARIES[:6])))
    gamma, linear = struct.pack(">I", 45455), struct.pack(">I", 100_000)
    profile = chunk(b"iCCP", b"P3\0\0" + zlib.compress(P3))
    for extra, is_srgb in (
        ([chunk(b"gAMA", gamma), chunk(b"cHRM", srgb)], True),
        ([chunk(b"gAMA", linear)], False),
        ([chunk(b"cHRM", wide)], False),
        ([chunk(b"cHRM", wide), chunk(b"sRGB", b"\0")], True),
        ([chunk(b"sRGB", b"\0"), profile], False),
        ([chunk(b"cICP", bytes((1, 13, 0, 1))), profile], True),
        ([chunk(b"cICP", bytes((12, 13, 0, 1)))], False),
    ):
        found = seen(tmp_path, png(extra=extra))
        assert found.header.is_srgb == is_srgb, extra
        assert (found.profile is None) == is_srgb


def test_a_grey_png_of_another_gamma_gets_a_grey_profile(tmp_path: Path) -> None:
    found = seen(tmp_path, png(kind=0, extra=[chunk(b"gAMA", struct.pack(">I", 100_000))]))
    assert found.profile is not None
    assert found.profile[16:20] == b"GRAY"


def test_an_hdr_png_is_not_srgb_and_has_no_profile(tmp_path: Path) -> None:
    found = seen(tmp_path, png(extra=[chunk(b"cICP", bytes((9, 16, 0, 1)))]))
    assert not found.header.is_srgb
    assert found.profile is None


def test_exif_behind_the_picture_of_a_png_is_found(tmp_path: Path) -> None:
    data = png((30, 20))
    end = data.index(b"IEND") - 4
    assert header_of(tmp_path, data[:end] + chunk(b"eXIf", EXIF_6[6:]) + data[end:]).orientation == 6


def test_a_profile_that_inflates_without_end_is_no_profile(tmp_path: Path) -> None:
    bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9))
    assert header_of(tmp_path, png(extra=[bomb])).profile is None


def test_a_png_that_contradicts_itself_is_corrupt(tmp_path: Path) -> None:
    sound = png()
    broken = sound.replace(b"IHDR\0\0\0\x02", b"IHDR\0\0\0\x03")
    for data in (broken, png(bits=3), png(kind=1), png((0, 5)), sound[:33] + chunk(b"IEND", b"")):
        with pytest.raises(CorruptMedia):
            seen(tmp_path, data)


@pytest.mark.parametrize("exponent", [1, 2, 3, 9_999, 1_000_001, 0xFFFFFFFF])
def test_a_gamma_that_cannot_be_is_as_if_it_were_not_there(tmp_path: Path, exponent: int) -> None:
    assert seen(tmp_path, png(extra=[chunk(b"gAMA", exponent.to_bytes(4, "big"))])).header.is_srgb


def test_colours_that_cannot_be_are_never_an_error(tmp_path: Path) -> None:
    chance = random.Random(5)
    for _ in range(300):
        fields = [chance.choice((0, 1, 33_000, 99_999, 2**31, 2**32 - 1, chance.randrange(100_000))) for _ in range(8)]
        chrm = chunk(b"cHRM", struct.pack(">8I", *fields))
        gama = chunk(b"gAMA", struct.pack(">I", chance.choice((1, 10_000, 45_455, 100_000, 1_000_000))))
        seen(tmp_path, png(extra=[gama, chrm]))
