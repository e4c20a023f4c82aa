"""Pictures that say which frame they are: a moving texture with the frame's number in blocks on it.

The number stands in two rows of blocks at the top and, inverted, in two rows at the bottom of the upright picture. It
survives scaling, re-encoding and tone mapping, and cannot be read from a picture that is turned or mirrored.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

COLUMNS, ROWS = 8, 12  # blocks across and down; the first and last column hold the markers
BITS = 12
MAX_NUMBER = (1 << BITS) - 1
WHITE, BLACK = 220, 24  # luma, inside the limited range
TEXTURE_SIZE = 512

Picture = np.ndarray[Any, np.dtype[np.uint8]]


class NoFrameNumber(ValueError):
    """The picture carries no number, or is turned, mirrored or too damaged to tell."""


@cache
def _texture(seed: int) -> Picture:
    """Tileable noise whose spectrum falls like that of photographs (1/f), in 40…215."""
    random = np.random.default_rng(seed)
    fy, fx = np.meshgrid(np.fft.fftfreq(TEXTURE_SIZE), np.fft.fftfreq(TEXTURE_SIZE), indexing="ij")
    distance = np.hypot(fx, fy)
    distance[0, 0] = 1.0
    noise = np.fft.ifft2(np.fft.fft2(random.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE))) / distance**1.3).real
    noise -= noise.min()
    return (40 + 175 * noise / noise.max()).astype(np.uint8)


def _crop(seed: int, width: int, height: int, moved: float, speed: tuple[float, float]) -> Picture:
    y = np.arange(height) + int(moved * speed[1])
    x = np.arange(width) + int(moved * speed[0])
    return _texture(seed)[np.ix_(y % TEXTURE_SIZE, x % TEXTURE_SIZE)]


def _bit_rows(number: int) -> tuple[list[bool], list[bool]]:
    bits = [bool(number >> shift & 1) for shift in reversed(range(BITS))]
    return bits[: BITS // 2], bits[BITS // 2 :]


def _block(row: int, column: int, width: int, height: int) -> tuple[slice, slice]:
    return (
        slice(row * height // ROWS, (row + 1) * height // ROWS),
        slice(column * width // COLUMNS, (column + 1) * width // COLUMNS),
    )


def draw(number: int, width: int, height: int, *, interlaced: str | None = None) -> Picture:
    """An upright picture as (3, height, width) Y, U, V; `interlaced` ("top" or "bottom" field first) moves the
    texture half a frame on between the fields, so that it combs where it is not deinterlaced."""
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"a picture can carry 0 to {MAX_NUMBER}, not {number}")
    speeds = ((3.0, 1.0), (1.0, 2.0), (-2.0, 1.0))
    moments = [float(number), number + 0.5] if interlaced else [float(number)]
    drawn = [
        np.stack([_crop(seed, width, height, moment * 2, speed) for seed, speed in enumerate(speeds)])
        for moment in moments
    ]
    picture = drawn[0]
    if interlaced:
        second = 1 if interlaced == "top" else 0
        picture[:, second::2] = drawn[1][:, second::2]
    picture[1:] = 128 + (picture[1:].astype(np.int16) - 128) // 3  # natural colours are mostly pale
    first, last = _bit_rows(number)
    for row, bits in ((0, first), (1, last), (ROWS - 2, [not b for b in first]), (ROWS - 1, [not b for b in last])):
        marker = row < ROWS // 2
        for column, bit in enumerate([marker, *bits, False]):
            picture[0][_block(row, column, width, height)] = WHITE if bit else BLACK
            picture[1:][(slice(None), *_block(row, column, width, height))] = 128
    return picture


def stored(upright: Picture, rotation_deg: int, *, mirrored: bool) -> Picture:
    """The picture that a clockwise turn by `rotation_deg`, then a left-right flip if `mirrored`, makes upright."""
    turned = upright[:, :, ::-1] if mirrored else upright
    return np.ascontiguousarray(np.rot90(turned, k=rotation_deg // 90, axes=(1, 2)))


def display_matrix(rotation_deg: int, *, mirrored: bool) -> list[int]:
    """The nine numbers of ISO/IEC 14496-12 that turn clockwise, then flip left-right."""
    a, b, c, d = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[rotation_deg]
    if mirrored:
        a, c = -a, -c
    one = 1 << 16
    return [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]


def read_number(luma: Picture) -> int:
    """The number of the upright picture with this (height, width) luma. Raises NoFrameNumber."""
    height, width = luma.shape

    def level(row: int, column: int) -> float:
        rows, columns = _block(row, column, width, height)
        dy, dx = (rows.stop - rows.start) // 4, (columns.stop - columns.start) // 4
        return float(luma[rows.start + dy : rows.stop - dy, columns.start + dx : columns.stop - dx].mean())

    levels = [[level(row, column) for column in range(COLUMNS)] for row in (0, 1, ROWS - 2, ROWS - 1)]
    bright, dark = (levels[0][0] + levels[1][0]) / 2, (levels[0][-1] + levels[1][-1]) / 2
    if bright - dark < 40:
        raise NoFrameNumber("the markers are missing: no number, or the picture is turned")
    bits = [[value > (bright + dark) / 2 for value in row] for row in levels]
    if [row[0] for row in bits] != [True, True, False, False] or any(row[-1] for row in bits):
        raise NoFrameNumber("the markers do not match: the picture is turned or mirrored")
    upper, lower = bits[0][1:-1] + bits[1][1:-1], bits[2][1:-1] + bits[3][1:-1]
    if [not bit for bit in lower] != upper:
        raise NoFrameNumber("the number and its inverse disagree")
    return int("".join("1" if bit else "0" for bit in upper), 2)


def frame_number(frame: "VideoFrame") -> int:
    """The number that a decoded upright frame carries. Raises NoFrameNumber."""
    return read_number(luma(frame))


def luma(frame: "VideoFrame") -> Picture:
    """The frame's luma as 8-bit (height, width)."""
    return frame.reformat(format="gray").to_ndarray().astype(np.uint8, copy=False)
