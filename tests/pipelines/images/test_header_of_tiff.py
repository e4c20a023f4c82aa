"""What the header of a TIFF says."""

from pathlib import Path

import pytest

from pipelines.errors import (
    CorruptMedia,
    LimitExceeded,
    UnsupportedMedia,
)
from tests.support.image_bytes import (
    drawn,
    header_of,
    seen,
    tiff,
)

PAGE = {
    256: (3, (30,)), 257: (3, (20,)), 258: (3, (8, 8, 8)), 259: (3, (1,)), 262: (3, (2,)), 273: (4, (8,)),
    274: (3, (6,)), 277: (3, (3,)), 279: (4, (64,)),
}  # fmt: skip


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True), (">", True)])
def test_a_tiff_is_read_in_either_order_and_size(tmp_path: Path, order: str, big: bool) -> None:
    found = header_of(tmp_path, tiff(PAGE, order=order, big=big))
    assert (found.format, found.width, found.height, found.orientation) == ("tiff", 30, 20, 6)
    assert (found.color_model, found.bits, found.has_alpha) == ("rgb", 8, False)


def test_the_tiffs_that_libvips_writes_are_understood(tmp_path: Path) -> None:
    page = drawn()
    for image, options, wanted in (
        (page, {"compression": "lzw", "tile": True}, ("rgb", 8, False)),
        (page.copy(interpretation="rgb16").cast("ushort"), {"compression": "deflate"}, ("rgb", 16, False)),
        (page.bandjoin(255), {"compression": "packbits"}, ("rgb", 8, True)),
        (drawn(bands=1), {"compression": "ccittfax4", "bitdepth": 1}, ("grey", 1, False)),
        (page.bandjoin(0).copy(interpretation="cmyk"), {}, ("cmyk", 8, False)),
        (page.cast("float").copy(interpretation="lab"), {}, ("lab", 32, False)),
    ):
        found = header_of(tmp_path, image.tiffsave_buffer(**options))
        assert (found.color_model, found.bits, found.has_alpha) == wanted
        assert (found.width, found.height, found.frames) == (64, 48, 1)


def test_a_raw_camera_file_is_not_taken_for_its_thumbnail(tmp_path: Path) -> None:
    for extra in ({50706: (1, (1, 4, 0, 0))}, {254: (4, (1,)), 330: (4, (100,))}):
        with pytest.raises(UnsupportedMedia, match="raw camera file"):
            seen(tmp_path, tiff(PAGE | extra))


def test_a_tiff_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for change, error in (
        ({259: (3, (34712,))}, UnsupportedMedia),
        ({262: (3, (32803,))}, UnsupportedMedia),
        ({258: (3, (8, 16, 8))}, UnsupportedMedia),
        ({277: (3, (2,))}, CorruptMedia),
        ({257: (4, (0,))}, CorruptMedia),
        ({257: (4, (4_000_000_000,))}, LimitExceeded),
    ):
        with pytest.raises(error):
            seen(tmp_path, tiff(PAGE | change))
    for missing in (256, 262, 273):
        with pytest.raises(CorruptMedia):
            seen(tmp_path, tiff({tag: value for tag, value in PAGE.items() if tag != missing}))
    with pytest.raises(CorruptMedia):
        seen(tmp_path, b"II*\0\xff\xff\xff\x7f")
