"""What the header of a JPEG says."""

from pathlib import Path

import pytest

from pipelines.errors import (
    CorruptMedia,
    TruncatedMedia,
    UnsupportedMedia,
)
from pipelines.images.colors import ADOBE_RGB, made_profile
from tests.support.image_bytes import (
    EXIF_6,
    P3,
    SRGB,
    header_of,
    jpeg,
    seen,
    tiff,
    with_segments,
)


@pytest.mark.parametrize(("mode", "model"), [("L", "grey"), ("RGB", "rgb"), ("CMYK", "cmyk")])
def test_a_jpeg_tells_size_and_colours(tmp_path: Path, mode: str, model: str) -> None:
    found = header_of(tmp_path, jpeg((64, 48), mode))
    assert (found.format, found.width, found.height, found.color_model) == ("jpeg", 64, 48, model)
    assert (found.bits, found.frames, found.has_alpha, found.unusual) == (8, 1, False, "")
    assert found.is_srgb == (mode != "CMYK")
    assert found.profile is None


def with_frame(content: bytes, marker: int) -> bytes:
    return content.replace(b"\xff\xc0", bytes((0xFF, marker)), 1)


def adobe(transform: int) -> tuple[int, bytes]:
    return 0xEE, b"Adobe" + bytes((0, 100, 0, 0, 0, 0, transform))


CODED = jpeg()
CHANNELS = CODED.index(b"\xff\xc0") + 10  # the first one's name, then its sampling and its table


CODINGS: dict[str, tuple[bytes, str]] = {
    "progressive": (jpeg(progressive=True), "progressive"),
    "extended": (with_frame(CODED, 0xC1), "extended"),
    "with a table of 16-bit numbers": (with_segments(CODED, (0xDB, b"\x10" + bytes((1, 44)) * 64)), "extended"),
    "with a second table of 16-bit numbers": (
        with_segments(CODED, (0xDB, b"\0" + bytes(64) + b"\x11" + bytes(128))),
        "extended",
    ),
    "arithmetic": (with_frame(CODED, 0xC9), "arithmetically coded"),
    "RGB": (jpeg(keep_rgb=True), "RGB-coded"),
    "RGB by Adobe's segment": (with_segments(CODED, adobe(0)), "RGB-coded"),
    "RGB by names": (CODED[:CHANNELS] + b"R\x22\0G\x11\1B\x11\1" + CODED[CHANNELS + 9 :], "RGB-coded"),
    "YCbCr by Adobe's segment": (with_segments(CODED, adobe(1)), ""),
    "Adobe's segment says nothing": (with_segments(CODED, (0xEE, b"Adobe\0")), ""),
    "grey": (jpeg(mode="L"), ""),
    "plain": (CODED, ""),
}


@pytest.mark.parametrize(("content", "coding"), CODINGS.values(), ids=CODINGS)
def test_a_coding_that_not_every_decoder_gets_right_is_named(tmp_path: Path, content: bytes, coding: str) -> None:
    assert header_of(tmp_path, content).unusual == coding


def test_the_orientation_of_a_jpeg_turns_its_upright_size(tmp_path: Path) -> None:
    found = header_of(tmp_path, jpeg(exif=EXIF_6))
    assert (found.orientation, found.width, found.upright_size) == (6, 64, (48, 64))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_is_upright(tmp_path: Path, value: int) -> None:
    assert header_of(tmp_path, jpeg(exif=b"Exif\0\0" + tiff({274: (3, (value,))}))).orientation == 1


def test_a_profile_is_told_by_its_name_and_its_numbers(tmp_path: Path) -> None:
    wide, plain = seen(tmp_path, jpeg(icc_profile=P3)), seen(tmp_path, jpeg(icc_profile=SRGB))
    assert (wide.header.profile, wide.header.is_srgb) == ("made from the picture's own tags", False)
    assert wide.profile == P3
    assert plain.header.is_srgb
    assert plain.profile is None


def test_a_profile_in_many_segments_is_put_together(tmp_path: Path) -> None:
    parts = [(0xE2, b"ICC_PROFILE\0" + bytes((n, 3)) + P3[(n - 1) * 200 : n * 200]) for n in (3, 1, 2)]
    parts[0] = (0xE2, parts[0][1][:14] + P3[400:])
    assert seen(tmp_path, with_segments(jpeg(), *parts)).profile == P3


def test_a_profile_for_other_pictures_is_ignored(tmp_path: Path) -> None:
    found = seen(tmp_path, jpeg(mode="L", icc_profile=P3))
    assert found.header.is_srgb
    assert found.profile is None


def test_a_cameras_adobe_rgb_without_a_profile_is_understood(tmp_path: Path) -> None:
    interop = tiff({1: (2, tuple(b"R03\0"))})
    # One block: the main directory, then those it points at, moved to where they lie.
    main = bytearray(tiff({34665: (4, (200,))}).ljust(200, b"\0"))
    exif = tiff({40961: (3, (0xFFFF,)), 40965: (4, (300,))})[8:].ljust(100, b"\0")
    found = seen(tmp_path, jpeg(exif=b"Exif\0\0" + bytes(main) + exif + interop[8:]))
    assert not found.header.is_srgb
    assert found.header.profile is None
    assert found.profile == made_profile(ADOBE_RGB, "rgb")


def test_what_is_appended_to_a_jpeg_is_not_looked_at(tmp_path: Path) -> None:
    assert header_of(tmp_path, jpeg() + b"\0\0\0\x18ftypmp42" + jpeg((9, 9))).width == 64


def test_bytes_between_segments_are_skipped_as_decoders_do(tmp_path: Path) -> None:
    assert header_of(tmp_path, jpeg().replace(b"\xff\xdb", b"\x12\x34\xff\x00\xff\xff\xdb", 1)).width == 64


def test_a_jpeg_cut_before_its_picture_is_truncated(tmp_path: Path) -> None:
    data = jpeg()
    for end in (3, 20, data.index(b"\xff\xc0") + 6):
        with pytest.raises(TruncatedMedia, match="ends"):
            seen(tmp_path, data[:end])


def test_a_jpeg_that_no_decoder_reads_is_refused(tmp_path: Path) -> None:
    data = jpeg()
    for old, new, error in (
        (b"\xff\xc0\x00\x11\x08", b"\xff\xc3\x00\x11\x08", UnsupportedMedia),
        (b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c", UnsupportedMedia),
        (b"\xff\xc0\x00\x11\x08\x00\x30", b"\xff\xc0\x00\x11\x08\x00\x00", CorruptMedia),
    ):
        assert old in data
        with pytest.raises(error):
            seen(tmp_path, data.replace(old, new))
