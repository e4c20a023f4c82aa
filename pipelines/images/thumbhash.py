"""ThumbHash: a picture in about 25 bytes, blurred, with its shape, colours and alpha (evanw.github.io/thumbhash).

Our own, because it is one page of arithmetic: the Python packages of it work pixel by pixel, fifty times as long.
"""

import math
from typing import Any

import numpy as np

MAX_SIDE = 100  # px; the format allows no larger source


def thumbhash(rgba: Any) -> bytes:
    """The hash of pixels of shape (height, width, 4), uint8, at most 100 px a side."""
    height, width = rgba.shape[:2]
    pixels = rgba.astype(np.float64) / 255
    alpha = pixels[..., 3]
    seen = float(alpha.sum())
    average = (pixels[..., :3] * alpha[..., None]).sum(axis=(0, 1)) / seen if seen else np.zeros(3)
    has_alpha = bool(rgba[..., 3].min() < 255)
    red, green, blue = np.moveaxis(average * (1 - alpha[..., None]) + pixels[..., :3] * alpha[..., None], 2, 0)

    most = 5 if has_alpha else 7  # fewer of the brightness leave room for alpha
    longest = max(width, height)
    across, down = max(1, _round(most * width / longest)), max(1, _round(most * height / longest))
    light_dc, light_ac, light_scale = _channel((red + green + blue) / 3, max(3, across), max(3, down))
    yellow_dc, yellow_ac, yellow_scale = _channel((red + green) / 2 - blue, 3, 3)
    redness_dc, redness_ac, redness_scale = _channel(red - green, 3, 3)
    is_landscape = width > height
    first = (
        _round(63 * light_dc)
        | _round(31.5 + 31.5 * yellow_dc) << 6
        | _round(31.5 + 31.5 * redness_dc) << 12
        | _round(31 * light_scale) << 18
        | has_alpha << 23
    )
    second = (
        (down if is_landscape else across)
        | _round(63 * yellow_scale) << 3
        | _round(63 * redness_scale) << 9
        | is_landscape << 15
    )
    head: bytes = first.to_bytes(3, "little") + second.to_bytes(2, "little")
    waves = light_ac + yellow_ac + redness_ac
    if has_alpha:
        alpha_dc, alpha_ac, alpha_scale = _channel(alpha, 5, 5)
        head += bytes([_round(15 * alpha_dc) | _round(15 * alpha_scale) << 4])
        waves += alpha_ac
    halves = [_round(15 * wave) for wave in waves]
    halves += [0] * (len(halves) % 2)
    return head + bytes(low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))


def _channel(values: Any, across: int, down: int) -> tuple[float, list[float], float]:
    """The average, the waves from 0 to 1 (0.5: none), and their scale."""
    height, width = values.shape
    columns = np.cos(np.pi / width * np.outer(np.arange(across), np.arange(width) + 0.5))
    rows = np.cos(np.pi / height * np.outer(np.arange(down), np.arange(height) + 0.5))
    found = rows @ values @ columns.T / (width * height)
    # The coarser half of them, cut off along a diagonal.
    waves = [
        float(found[y, x]) for y in range(down) for x in range(across) if (x or y) and x * down < across * (down - y)
    ]
    scale = max(map(abs, waves), default=0.0)
    return float(found[0, 0]), [0.5 + 0.5 / scale * wave if scale else wave for wave in waves], scale


def _round(value: float) -> int:
    """Half is rounded up, as the format's reference does."""
    return math.floor(value + 0.5)
