"""In which colours a picture's numbers are when it has no profile, and the profile that says the same."""

import struct
from dataclasses import dataclass

from pipelines.images.facts import ColorModel

Primaries = tuple[float, float, float, float, float, float, float, float]
Matrix = tuple[tuple[float, float, float], ...]  # three rows

SRGB_PRIMARIES: Primaries = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
P3_PRIMARIES: Primaries = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290)
# By their code point in ITU-T H.273; what is missing there is unspecified, and taken as sRGB.
CODED_PRIMARIES: dict[int, Primaries] = {
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, 0.3127, 0.3290),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, 0.3127, 0.3290),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: P3_PRIMARIES,
}
# The curve of BT.709 is absent on purpose: pictures tagged with it were seen, and are shown, with the curve of sRGB.
CODED_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
HDR_TRANSFERS = (16, 18)  # PQ, HLG
SMALLEST_GAMMA, LARGEST_GAMMA = 0.1, 10.0  # what lies outside is a mistake, and a profile has no room for it
NEAR = 0.003  # primaries written with three digits

D50 = (0.9642, 1.0, 0.8249)
BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


@dataclass(frozen=True, slots=True)
class Colors:
    """What the numbers mean; only made for what is not sRGB."""

    primaries: Primaries  # x and y of red, green, blue and white
    gamma: float | None = None  # None: the curve of sRGB
    hdr: bool = False  # PQ or HLG: brighter than any profile of a picture can say


ADOBE_RGB = Colors((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.3290), 563 / 256)


def colors(primaries: Primaries, gamma: float | None, *, hdr: bool = False) -> Colors | None:
    """Those colours, or None when they are sRGB."""
    if gamma is not None and (abs(gamma - 2.2) < 0.05 or not SMALLEST_GAMMA <= gamma <= LARGEST_GAMMA):
        gamma = None  # 2.2 is how sRGB is written where there is room for an exponent only
    same = all(abs(one - other) < NEAR for one, other in zip(primaries, SRGB_PRIMARIES, strict=True))
    return None if same and gamma is None and not hdr else Colors(primaries, gamma, hdr)


def coded_colors(primaries: int, transfer: int) -> Colors | None:
    """The colours of two code points of ITU-T H.273, or None when they are sRGB or unspecified."""
    return colors(
        CODED_PRIMARIES.get(primaries, SRGB_PRIMARIES), CODED_GAMMAS.get(transfer), hdr=transfer in HDR_TRANSFERS
    )


def made_profile(meant: Colors, model: ColorModel) -> bytes | None:
    """An ICC profile that says what `meant` does; None when there can be none."""
    columns = _to_d50(meant.primaries)
    if meant.hdr or columns is None or model in ("cmyk", "lab"):
        return None
    curve = _curve(meant.gamma)
    text = "made from the picture's own tags".encode("utf-16-be")
    tags = [
        (b"desc", struct.pack(">4s4xIIHHII", b"mluc", 1, 12, 0x656E, 0x5553, len(text), 28) + text),
        (b"cprt", struct.pack(">4s4xIIHHII", b"mluc", 1, 12, 0x656E, 0x5553, len(text), 28) + text),
        (b"wtpt", _xyz(D50)),
    ]
    if model == "grey":
        tags.append((b"kTRC", curve))
    else:
        tags += [(tag, _xyz(column)) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)]
        tags += [(tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC")]
    return _written(b"GRAY" if model == "grey" else b"RGB ", tags)


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return struct.pack(">4s4xHHi", b"para", 0, 0, _fixed(gamma))
    values = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return struct.pack(">4s4xHH5i", b"para", 3, 0, *(_fixed(value) for value in values))


def _xyz(value: tuple[float, ...]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(_fixed(part) for part in value))


def _fixed(value: float) -> int:
    return round(value * 65536)


def _written(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    offset = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s28x3i48x",
        offset + len(body),
        b"\0\0\0\0",
        0x04300000,
        b"mntr",
        space,
        b"XYZ ",
        struct.pack(">6H", 2000, 1, 1, 0, 0, 0),
        b"acsp",
        *(_fixed(part) for part in D50),
    )
    return head + table + body


def _to_d50(primaries: Primaries) -> list[tuple[float, ...]] | None:
    """XYZ of red, green and blue, their white moved to D50 as in every profile; None for what are no primaries."""
    try:
        red, green, blue, white = (
            (x / y, 1.0, (1 - x - y) / y) for x, y in zip(primaries[::2], primaries[1::2], strict=True)
        )
        points: Matrix = tuple(zip(red, green, blue, strict=True))
        strengths = _times(_inverse(points), white)
        scale = [target / source for target, source in zip(_times(BRADFORD, D50), _times(BRADFORD, white), strict=True)]
        back = _inverse(BRADFORD)
    except ZeroDivisionError:
        return None
    moved = []
    for point, strength in zip((red, green, blue), strengths, strict=True):
        cone = _times(BRADFORD, tuple(part * strength for part in point))
        moved.append(_times(back, tuple(part * factor for part, factor in zip(cone, scale, strict=True))))
    return moved if all(abs(part) < 4 for column in moved for part in column) else None


def _times(matrix: Matrix, vector: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)


def _inverse(m: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = m
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    rows = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return tuple((x / determinant, y / determinant, z / determinant) for x, y, z in rows)
