"""Palette, placeholder and perceptual hash of a small picture."""

import base64
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from pipelines.images.describe import describe
from pipelines.images.thumbhash import thumbhash


def scene(size: tuple[int, int] = (150, 100)) -> Image.Image:
    """Sky, meadow and sun, without hard edges."""
    picture = Image.new("RGB", size, "#3070c0")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, size[1] * 0.6, *size), "#308030")
    pen.ellipse((size[0] * 0.7, size[1] * 0.1, size[0] * 0.9, size[1] * 0.4), "#f0d020")
    return picture.filter(ImageFilter.GaussianBlur(3))


def shown(encoded: str) -> tuple[Any, bool]:
    """The picture in a ThumbHash, 32 px at its longer side, as its specification draws it; and whether it has alpha."""
    data = base64.b64decode(encoded)
    first, second = int.from_bytes(data[:3], "little"), int.from_bytes(data[3:5], "little")
    has_alpha, landscape = bool(first >> 23), bool(second >> 15)
    most = 5 if has_alpha else 7
    across = max(3, most if landscape else second & 7)
    down = max(3, second & 7 if landscape else most)
    halves = [half for byte in data[6 if has_alpha else 5 :] for half in (byte & 15, byte >> 4)]

    def waves(nx: int, ny: int, scale: float) -> dict[tuple[int, int], float]:
        places = [(x, y) for y in range(ny) for x in range(nx) if (x or y) and x * ny < nx * (ny - y)]
        return {place: (halves.pop(0) / 7.5 - 1) * scale for place in places}

    channels = [
        ((first & 63) / 63, waves(across, down, (first >> 18 & 31) / 31)),
        ((first >> 6 & 63) / 31.5 - 1, waves(3, 3, (second >> 3 & 63) / 63 * 1.25)),
        ((first >> 12 & 63) / 31.5 - 1, waves(3, 3, (second >> 9 & 63) / 63 * 1.25)),
    ]
    if has_alpha:
        channels.append(((data[5] & 15) / 15, waves(5, 5, (data[5] >> 4) / 15)))
    ratio = (most if landscape else second & 7) / (second & 7 if landscape else most)
    width, height = round(32 if ratio > 1 else 32 * ratio), round(32 / ratio if ratio > 1 else 32)
    planes = []
    for average, parts in channels:
        plane = np.full((height, width), average)
        for (x, y), strength in parts.items():
            column = np.cos(math.pi / width * (np.arange(width) + 0.5) * x)
            row = np.cos(math.pi / height * (np.arange(height) + 0.5) * y)
            plane = plane + 2 * strength * np.outer(row, column)
        planes.append(plane)
    blue = planes[0] - 2 / 3 * planes[1]
    red = (3 * planes[0] - blue + planes[2]) / 2
    return np.clip(np.stack([red, red - planes[2], blue, *planes[3:]], axis=2), 0, 1) * 255, has_alpha


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.mark.parametrize("size", [(150, 100), (100, 150), (40, 40), (150, 50)])
def test_a_thumbhash_shows_the_picture_blurred(size: tuple[int, int]) -> None:
    picture = scene(size)
    drawn, has_alpha = shown(describe(picture).thumbhash)
    assert not has_alpha
    wanted = np.asarray(picture.resize((drawn.shape[1], drawn.shape[0]), Image.Resampling.BOX), dtype=float)
    assert np.abs(drawn - wanted).mean() < 24
    assert np.abs(drawn - wanted).mean() < 0.5 * np.abs(drawn - wanted[::-1]).mean()
    assert np.abs(drawn.mean(axis=(0, 1)) - wanted.mean(axis=(0, 1))).max() < 6


def test_a_thumbhash_shows_what_is_transparent() -> None:
    picture = scene((64, 64)).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((64, 64)))
    drawn, has_alpha = shown(describe(picture).thumbhash)
    assert has_alpha
    assert drawn[:8, :, 3].mean() < 70
    assert drawn[-8:, :, 3].mean() > 185


def test_a_thumbhash_is_about_25_bytes_for_any_picture() -> None:
    for size in ((1, 1), (2, 1), (150, 1), (1, 150), (33, 77)):
        for mode in ("RGB", "RGBA", "L", "LA", "P", "1"):
            encoded = describe(Image.new(mode, size)).thumbhash
            assert 5 <= len(base64.b64decode(encoded)) <= 30


def test_the_thumbhash_of_the_reference_implementation_comes_out() -> None:
    y, x = np.mgrid[0:30, 0:40]
    red, green, blue = (x * x + 3 * y) % 256, (2 * y * y + x) % 256, (x * y + 7 * x) % 256
    for alpha, wanted in (
        (np.full_like(x, 255), "dd070615861132745076987386397674c98043f1e6"),
        ((x * x + 5 * y) % 256, "1f28820c8607002184888128670b56456f3b10102163777707"),
    ):
        pixels = np.stack([red, green, blue, alpha], axis=2).astype(np.uint8)
        assert thumbhash(pixels).hex() == wanted


def test_the_palette_begins_with_the_most_frequent_colour() -> None:
    picture = Image.new("RGB", (100, 100), "#204060")
    picture.paste("#c03020", (0, 0, 100, 30))
    picture.paste("#f0f0e0", (0, 0, 20, 20))
    assert describe(picture).palette == ("#204060", "#c03020", "#f0f0e0")
    assert 2 <= len(describe(scene()).palette) <= 6


def test_transparent_pixels_have_no_colour() -> None:
    picture = Image.new("RGBA", (50, 50), "#ff000000")
    assert describe(picture).palette == ()
    picture.paste("#00ff00ff", (0, 0, 10, 10))
    assert describe(picture).palette == ("#00ff00",)


def test_a_perceptual_hash_survives_what_keeps_the_look() -> None:
    one = describe(scene()).perceptual_hash
    assert len(one) == 16
    for other in (
        scene((60, 40)),
        ImageEnhance.Brightness(scene()).enhance(1.2),
        scene().filter(ImageFilter.GaussianBlur(2)),
        scene().convert("RGBA"),
    ):
        assert distance(one, describe(other).perceptual_hash) <= 6


def test_pictures_that_differ_have_distant_hashes() -> None:
    one = describe(scene()).perceptual_hash
    assert distance(one, describe(scene().transpose(Image.Transpose.ROTATE_90)).perceptual_hash) > 10
    assert distance(one, describe(Image.radial_gradient("L").resize((150, 100))).perceptual_hash) > 10


def test_flat_pictures_share_one_hash() -> None:
    assert {describe(Image.new("RGB", (40, 30), color)).perceptual_hash for color in ("white", "red", "#777")} == {
        "8000000000000000"
    }
