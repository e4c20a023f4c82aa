"""What a video stream's headers and first frames say of its pictures, brought to values that can be true.

Pure functions of numbers and bytes; nothing here opens a file.
"""

import struct
from collections.abc import Sequence
from fractions import Fraction

from pipelines.color import MATRICES, PRIMARIES, TRANSFERS, is_rgb
from pipelines.facts import FieldOrder, Range

# Numbers of ISO/IEC 23091-2 that a source may carry, also where no output of ours is made in them.
PRIMARY_NAMES = {number: name for name, number in PRIMARIES.items()}
TRANSFER_NAMES = {number: name for name, number in TRANSFERS.items()} | {9: "log100", 10: "log316", 17: "smpte428"}
SPACE_NAMES = {number: name for name, number in MATRICES.items()} | {
    8: "ycgco", 10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
UNKNOWN = "unknown"

FULL_RANGE = 2
MAX_ASPECT = 4  # of one pixel; the widest in use is 2 (anamorphic film), more is a damaged header
HIGHEST_CLAIM = 1000  # frames per second; FFmpeg writes 1000 and more when it could not tell
FALLBACK_RATE = Fraction(25)
USUAL_RATES = tuple(
    Fraction(*rate)
    for rate in ((24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1), (48, 1), (50, 1), (60_000, 1001), (60, 1))
)


def orientation(matrix: bytes | None) -> tuple[int, bool]:
    """(clockwise turn in degrees, flip left-right after it) of a display matrix of nine 32-bit numbers.

    The matrix maps stored to shown coordinates, x' = ax + cy, y' = bx + dy (ISO/IEC 14496-12 §8.5). A turn between the
    four right angles counts as the nearest of them; a matrix that maps everything to a line counts as none.
    """
    if matrix is None or len(matrix) < 36:
        return 0, False
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    determinant = a * d - b * c
    if determinant == 0:
        return 0, False
    if determinant < 0:  # take the flip off again
        a, c = -a, -c
    if abs(a) >= abs(b):
        return (0 if a > 0 else 180), determinant < 0
    return (90 if b > 0 else 270), determinant < 0


def pixel_aspect(claimed: Fraction | None) -> Fraction:
    """The aspect ratio of one pixel; 1 when unset or absurd."""
    if not claimed or claimed <= 0 or not Fraction(1, MAX_ASPECT) <= claimed <= MAX_ASPECT:
        return Fraction(1)
    return claimed


def colors(pixel_format: str, primaries: int, transfer: int, space: int) -> tuple[str, str, str]:
    """FFmpeg's names of the three tags; "unknown" for what is unset, reserved or cannot be (GBR in Y'CbCr)."""
    space_name = SPACE_NAMES.get(space, UNKNOWN)
    if is_rgb(pixel_format):
        space_name = "gbr"
    elif space_name == "gbr":
        space_name = UNKNOWN
    return PRIMARY_NAMES.get(primaries, UNKNOWN), TRANSFER_NAMES.get(transfer, UNKNOWN), space_name


def color_range(pixel_format: str, tag: int) -> Range:
    """Full for RGB, for the yuvj formats and where the stream says so; otherwise limited."""
    return "full" if tag == FULL_RANGE or pixel_format.startswith("yuvj") or is_rgb(pixel_format) else "limited"


def field_order(tag: int, interlaced: bool, height: int) -> FieldOrder:
    """Which field is shown first. `tag` is FFmpeg's AVFieldOrder, `interlaced` what the first frames say of themselves.

    Either is enough: containers forget the tag, and programmes begin with a progressive title. A deinterlacer that
    looks at every frame's own flag leaves progressive frames alone.
    """
    if tag in (2, 5):  # TT; BT is coded bottom first and shown top first
        return "top"
    if tag in (3, 4):
        return "bottom"
    if interlaced:
        return "bottom" if height in (480, 486) else "top"  # only NTSC's SD formats begin with the bottom field
    return "progressive"


def frame_rate(
    average: Fraction | None, base: Fraction | None, times: Sequence[int], time_base: Fraction, *, fields: bool
) -> Fraction:
    """Frames per second: the container's claim when the first frames bear it out, else what they measure.

    `average` and `base` are the container's (frames ÷ duration; the finest grid that the times fit), `times` the sorted
    times of the first packets, `fields` true when a packet may hold one field.
    """
    claims = [claim for claim in (average, base) if claim and 0 < claim < HIGHEST_CLAIM]
    settled = times[:-8] if len(times) > 16 else times  # later frames may lie between the last ones read
    if len(settled) < 3 or settled[-1] <= settled[0]:
        return next(iter(claims), FALLBACK_RATE)
    measured = (len(settled) - 1) / ((settled[-1] - settled[0]) * time_base)
    for claim in claims:
        if abs(measured / claim - 1) <= Fraction(1, 10) or (fields and abs(measured / claim - 2) <= Fraction(1, 5)):
            return claim
    nearest = min(USUAL_RATES, key=lambda rate: abs(rate / measured - 1))
    return nearest if abs(nearest / measured - 1) <= Fraction(1, 50) else measured.limit_denominator(100_000)


def mastering_display(data: bytes | None) -> str | None:
    """FFmpeg's AVMasteringDisplayMetadata in x265's words: chromaticities in 0.00002, luminances in 0.0001 cd/m²."""
    if data is None or len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    if not (numbers[20] and numbers[21]) or any(den <= 0 for den in numbers[1:20:2]):
        return None
    values = [Fraction(numbers[place], numbers[place + 1]) for place in range(0, 20, 2)]
    if any(value < 0 for value in values):
        return None
    (rx, ry, gx, gy, bx, by, wx, wy), (low, high) = [round(v * 50_000) for v in values[:8]], values[8:]
    return f"G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({round(high * 10_000)},{round(low * 10_000)})"


def dolby_profile_without_base(data: bytes | None) -> int | None:
    """The Dolby Vision profile (FFmpeg's AVDOVIDecoderConfigurationRecord) whose pictures only Dolby's decoders know.

    None where the base layer is ordinary SDR, HDR10 or HLG. Profile 5 never has such a layer. Records from before there
    was a compatibility id have 0 there, so 0 is believed only of the later profiles that may lack one.
    """
    if data is None or len(data) < 8:
        return None
    profile, compatibility_id = data[2], data[7]
    lacks_base = profile == 5 or (profile in (10, 20) and compatibility_id == 0)
    return profile if lacks_base else None


def content_light(data: bytes | None) -> str | None:
    """FFmpeg's AVContentLightMetadata as "max_cll,max_fall" in cd/m²; None when both are 0 (unknown)."""
    if data is None or len(data) < 8:
        return None
    most, average = struct.unpack("=2I", data[:8])
    return f"{most},{average}" if most or average else None
