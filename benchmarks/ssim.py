"""How alike two pictures are: the structural similarity of their light, 1 when they are the same."""

import numpy as np
from PIL import Image

_WINDOW = 8  # px a side, each pixel in it weighed alike, as in Wang's first paper; a step of 1
_STEADY = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)  # the paper's constants for 8 bits


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Of two pictures of one size; both at least 8 pixels a side."""
    return light_ssim(light_of(one), light_of(other))


def light_of(picture: Image.Image) -> np.ndarray:
    """(height, width) float64, 0 to 255: not rounded as a conversion by Pillow would be."""
    pixels = np.asarray(picture.convert("RGB"), np.float64)
    light: np.ndarray = pixels @ np.array([0.299, 0.587, 0.114])
    return light


def light_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of two (height, width) pictures of light."""
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} cannot be compared")
    mean_a, mean_b = _means(a), _means(b)
    spread_a, spread_b = _means(a * a) - mean_a**2, _means(b * b) - mean_b**2
    together = _means(a * b) - mean_a * mean_b
    light, contrast = _STEADY
    similar = (2 * mean_a * mean_b + light) * (2 * together + contrast)
    return float(np.mean(similar / ((mean_a**2 + mean_b**2 + light) * (spread_a + spread_b + contrast))))


def _means(values: np.ndarray) -> np.ndarray:
    """Of every window, by sums over both directions."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    w = _WINDOW
    sums: np.ndarray = total[w:, w:] - total[w:, :-w] - total[:-w, w:] + total[:-w, :-w]
    return sums / w**2
