"""What is refused by its first bytes or by a limit, whatever the format."""

from pathlib import Path

import pytest

from pipelines.errors import (
    EmptyFile,
    LimitExceeded,
    NotMedia,
    PlaylistRefused,
    RejectedMedia,
    UnsupportedMedia,
)
from pipelines.images.header import examine
from pipelines.images.limits import ImageLimits
from tests.support.image_bytes import (
    jpeg,
    seen,
)

LIMITS = ImageLimits()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", EmptyFile, "empty"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x", PlaylistRefused, "playlist"),
        (b"PK\x03\x04" + bytes(100), NotMedia, "ZIP"),
        (b"%PDF-1.7\n", NotMedia, "PDF"),
        (b"%!PS-Adobe-3.0\n", NotMedia, "PostScript"),
        (b"push graphic-context\nviewbox 0 0 640 480\n", NotMedia, "text"),
        (b"<html><body>a page</body></html>", NotMedia, "text"),
        (b"\x01", NotMedia, "unknown"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', UnsupportedMedia, "SVG"),
        (b"8BPS\0\x01" + bytes(30), UnsupportedMedia, "Photoshop"),
        (b"\0\0\x01\0\x01\0" + bytes(30), UnsupportedMedia, "icon"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", UnsupportedMedia, "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", UnsupportedMedia, "JPEG 2000"),
        (b"v/1\x01" + bytes(30), UnsupportedMedia, "OpenEXR"),
        (b"II*\0\x10\0\0\0CR\x02\0", UnsupportedMedia, "raw camera"),
        (b"BM" + bytes(4) + bytes(4) + bytes(30), UnsupportedMedia, "BMP"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", UnsupportedMedia, "the file is an MP4 file, not a picture"),
        (b"RIFF\x24\0\0\0WAVEfmt ", UnsupportedMedia, "WAV"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(
    tmp_path: Path, data: bytes, error: type[RejectedMedia], words: str
) -> None:
    with pytest.raises(error, match=words):
        seen(tmp_path, data)


def test_the_name_decides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(jpeg())
    assert examine(str(path), LIMITS).header.format == "jpeg"


def test_every_limit_is_checked_and_names_its_setting(tmp_path: Path) -> None:
    for limits, name in (
        (ImageLimits(max_bytes=100), "max_bytes"),
        (ImageLimits(max_side=63), "max_side"),
        (ImageLimits(max_pixels=64 * 48 - 1), "max_pixels"),
    ):
        with pytest.raises(LimitExceeded) as caught:
            seen(tmp_path, jpeg(), limits)
        assert caught.value.detail["limit"] == name
    assert seen(tmp_path, jpeg(), ImageLimits(max_side=64, max_pixels=64 * 48)).header.width == 64
