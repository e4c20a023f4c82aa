"""The picture libraries load what is accepted here and nothing else."""

import io
from pathlib import Path

import pytest

from pipelines.images.libraries import CEILING_PIXELS, heif, pillow, vips
from tests.support.image_bytes import drawn, png


def test_other_loaders_of_libvips_are_blocked(tmp_path: Path) -> None:
    own, table, drawing = tmp_path / "own.v", tmp_path / "table.csv", tmp_path / "drawing.svg"
    drawn().write_to_file(str(own))
    table.write_text("1,2,3\n")
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    for path, loader in ((own, "vipsload"), (table, "csvload"), (table, "matrixload"), (drawing, "svgload")):
        with pytest.raises(vips().Error, match="operation is blocked"):
            getattr(vips().Image, loader)(str(path))
        with pytest.raises(vips().Error):
            vips().Image.new_from_file(str(path))


def test_the_loaders_of_accepted_formats_work() -> None:
    picture = drawn()
    for saver, loader in (
        ("jpegsave_buffer", "jpegload_buffer"),
        ("pngsave_buffer", "pngload_buffer"),
        ("webpsave_buffer", "webpload_buffer"),
        ("gifsave_buffer", "gifload_buffer"),
        ("tiffsave_buffer", "tiffload_buffer"),
        ("heifsave_buffer", "heifload_buffer"),
    ):
        options = {"compression": "av1", "effort": 0} if saver == "heifsave_buffer" else {}
        data = getattr(picture, saver)(**options)
        assert getattr(vips().Image, loader)(data).width == 64


def test_a_picture_above_the_ceiling_is_an_error_and_no_warning() -> None:
    side = int(CEILING_PIXELS**0.5) + 1
    with pytest.raises(pillow().DecompressionBombWarning):
        pillow().open(io.BytesIO(png((side, side))), formats=["PNG"])


def test_heif_reads_the_picture_alone_with_the_librarys_own_limits_on() -> None:
    options = heif().options
    assert (options.DECODE_THREADS, options.DISABLE_SECURITY_LIMITS, options.THUMBNAILS) == (1, False, False)
