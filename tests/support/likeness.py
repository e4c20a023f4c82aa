"""How alike two pictures are, and what a resized or converted one should be, computed in float64 without a library."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]  # (height, width, 3), 0 to 255
SSIM_BLOCK = 8

# To XYZ of D65, from the primaries of each space.
SRGB = np.array([[0.41239, 0.35758, 0.18048], [0.21264, 0.71517, 0.07219], [0.01933, 0.11919, 0.95053]])
DISPLAY_P3 = np.array([[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0.0, 0.04511, 1.04394]])
ADOBE_RGB = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])


def ssim(one: Picture, other: Picture) -> float:
    """Mean structural similarity of luma, over all windows of 8×8."""
    weights = np.array([0.299, 0.587, 0.114])
    a, b = one[..., :3].astype(np.float64) @ weights, other[..., :3].astype(np.float64) @ weights
    mean_a, mean_b = _windows(a), _windows(b)
    var_a, var_b = _windows(a * a) - mean_a**2, _windows(b * b) - mean_b**2
    covariance = _windows(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float((above / below).mean())


def _windows(values: Picture) -> Picture:
    """The mean of every window."""
    block = min(SSIM_BLOCK, *values.shape)
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    total = sums[block:, block:] - sums[:-block, block:] - sums[block:, :-block] + sums[:-block, :-block]
    return np.asarray(total / block**2)


def lanczos(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture shrunk to width × height by Lanczos 3 of the whole, in its own gamma."""
    across = _shrunk(picture.astype(np.float64).swapaxes(0, 1), size[0]).swapaxes(0, 1)
    return np.asarray(np.clip(_shrunk(across, size[1]), 0, 255))


def _shrunk(picture: Picture, length: int) -> Picture:
    """Shrunk along the first axis."""
    before = picture.shape[0]
    step = before / length
    reach = max(step, 1.0)
    centres = (np.arange(length) + 0.5) * step - 0.5
    offsets = np.arange(-int(3 * reach) - 1, int(3 * reach) + 3)
    taps = np.floor(centres).astype(int)[:, None] + offsets
    x = (taps - centres[:, None]) / reach
    weights = np.where((np.abs(x) < 3) & (taps >= 0) & (taps < before), np.sinc(x) * np.sinc(x / 3), 0.0)
    weights /= weights.sum(1, keepdims=True)
    taps = taps.clip(0, before - 1)
    made = np.zeros((length, *picture.shape[1:]))
    for tap in range(len(offsets)):
        made += weights[:, tap, None, None] * picture[taps[:, tap]]
    return made


def delta_e(one: Picture, other: Picture) -> Picture:
    """CIE 1976 distance of every pixel of two sRGB pictures."""
    return np.asarray(np.linalg.norm(_lab(one) - _lab(other), axis=-1))


def to_srgb(picture: Picture, space: Picture, gamma: float | None = None) -> Picture:
    """A picture of another RGB space as sRGB, 0 to 255; its curve is sRGB's own without a `gamma`."""
    values = picture.astype(np.float64) / 255
    light = values**gamma if gamma else _linear(values)
    light = np.clip(light @ space.T @ np.linalg.inv(SRGB).T, 0, 1)
    return np.asarray(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def _linear(values: Picture) -> Picture:
    return np.asarray(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def _lab(picture: Picture) -> Picture:
    white = SRGB.sum(1)
    xyz = _linear(picture[..., :3].astype(np.float64) / 255) @ SRGB.T / white
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
