"""The gate: which engine, and why."""

from dataclasses import replace
from typing import Any

import pytest

from ladders.images import ImagePart
from pipelines.images.facts import Header
from pipelines.images.gate import choose_engine, decoded_pixels

PHOTO = Header("jpeg", 4000, 3000, 1, "rgb", 8, False, 1, None, True, "")


def part(**variant: Any) -> ImagePart:
    return ImagePart.model_validate({"variants": [{"name": "a", "formats": [{"name": "webp"}], **variant}]})


@pytest.mark.parametrize(
    ("changes", "engine", "word"),
    [
        ({}, "pillow", "sRGB"),
        ({"unusual": "progressive"}, "pillow", "sRGB"),
        ({"color_model": "grey"}, "pillow", "sRGB"),
        ({"format": "png"}, "pillow", "PNG"),
        ({"profile": "sRGB IEC61966-2.1"}, "pillow", "sRGB"),
        ({"profile": "Display P3", "is_srgb": False}, "vips", "Display P3"),
        ({"profile": None, "is_srgb": False}, "vips", "unnamed"),
        ({"color_model": "cmyk", "is_srgb": False}, "vips", "CMYK"),
        ({"format": "png", "color_model": "indexed"}, "vips", "indexed"),
        ({"format": "png", "has_alpha": True}, "vips", "alpha"),
        ({"format": "png", "bits": 16}, "vips", "16 bits"),
        ({"format": "png", "width": 10_000, "height": 10_000}, "vips", "100 megapixels"),
        ({"format": "webp"}, "vips", "WEBP"),
        ({"format": "heif"}, "vips", "HEIF"),
    ],
    ids=str,
)
def test_a_picture_goes_to_the_fastest_engine_that_is_right(changes: Any, engine: str, word: str) -> None:
    chosen, why = choose_engine(replace(PHOTO, **changes), part(width=800), dali=False)
    assert chosen == engine
    assert word in why


@pytest.mark.parametrize(
    ("changes", "engine"),
    [
        ({}, "dali"),
        ({"unusual": "progressive"}, "pillow"),
        ({"unusual": "RGB-coded"}, "pillow"),
        ({"color_model": "grey"}, "pillow"),
        ({"format": "png"}, "pillow"),
        ({"is_srgb": False}, "vips"),
        ({"format": "heif"}, "vips"),
    ],
    ids=str,
)
def test_only_plain_jpegs_go_to_a_gpu(changes: Any, engine: str) -> None:
    assert choose_engine(replace(PHOTO, **changes), part(width=800), dali=True)[0] == engine


def test_a_huge_jpeg_is_decoded_small_where_that_is_enough() -> None:
    huge = replace(PHOTO, width=12_000, height=8_000)
    assert choose_engine(huge, part(width=1600), dali=False)[0] == "pillow"
    assert choose_engine(huge, part(width=8_000), dali=False)[0] == "vips"


@pytest.mark.parametrize(
    ("variant", "pixels"),
    [
        ({"width": 4000}, 12_000_000),
        ({"width": 2001}, 12_000_000),
        ({"width": 2000}, 3_000_000),
        ({"width": 1600, "height": 800}, 3_000_000),
        ({"width": 1000, "height": 100, "fit": "cover"}, 750_000),
        ({"height": 375}, 750_000),
        ({"height": 250}, 187_500),
        ({"width": 10}, 187_500),
        ({"width": 9000}, 12_000_000),
    ],
    ids=str,
)
def test_the_gate_knows_how_much_will_be_decoded(variant: Any, pixels: int) -> None:
    assert decoded_pixels(PHOTO, part(**variant)) == pixels
