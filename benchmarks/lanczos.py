"""The picture that every resizer is compared with: Lanczos of the full source, in float64, in one step."""

import numpy as np

LOBES = 3


def lanczos(light: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(height, width) float64 shrunk to `size`, width first; nothing is rounded."""
    height, width = light.shape
    shrunk: np.ndarray = np.clip(_weights(height, size[1]) @ (light @ _weights(width, size[0]).T), 0.0, 255.0)
    return shrunk


def _weights(source: int, target: int) -> np.ndarray:
    """(target, source): how much of each source pixel is in each target pixel; every row sums to 1."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = (np.arange(source) - centres[:, None]) / max(scale, 1.0)
    weights = np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0.0)
    rows: np.ndarray = weights / weights.sum(1, keepdims=True)
    return rows
