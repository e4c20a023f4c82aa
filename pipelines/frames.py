"""The frame map: which source frame every output frame shows, and when.

It is computed once for the whole video, so that chunks agree about the frames at their joins. In storage
(`frames.i64`) a row is two little-endian 64-bit integers: the source frame, and the output time.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from statistics import median_low

from pipelines.errors import LimitExceeded
from pipelines.plan import FrameIndex, FrameRow

ROW_BYTES = 16
MAX_ROWS = 4_000_000  # 18 hours at 60 frames per second; two frames a day apart must not become a map of gigabytes

# What cameras and screen recorders are set to: where a source's times fit one of these, that is its rate. What is made
# of it is another question, and another list (`ladders.select.PLAYER_RATES`).
CAMERA_RATES = tuple(
    Fraction(*rate)
    for rate in (
        (10, 1), (12, 1), (25, 2), (15, 1), (20, 1), (24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1), (48, 1),
        (50, 1), (60_000, 1001), (60, 1), (100, 1), (120_000, 1001), (120, 1), (240, 1),
    )
)  # fmt: skip
HOLD_S = 0.25  # sound that ends so much after the picture is kept, below a held picture; less is a recorder's rounding
NEAR = 0.02  # a measured rate this close to a standard one may be that one


@dataclass(frozen=True, slots=True)
class Rate:
    """The frame rate of a source, and whether every frame sits within half a frame of that grid, the first on it."""

    fps: Fraction
    constant: bool


def pack_rows(rows: Iterable[FrameRow]) -> bytes:
    """The rows as `frames.i64`."""
    numbers = array("q", [number for row in rows for number in (row.source, row.pts)])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpack_rows(data: bytes) -> list[FrameRow]:
    """What `pack_rows` wrote."""
    numbers = array("q", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return [FrameRow(source, pts) for source, pts in zip(numbers[::2], numbers[1::2], strict=True)]


def source_rate(index: FrameIndex, stated: Fraction) -> Rate:
    """The rate that fits the frames' times best; `stated` is the container's claim, often wrong.

    Without a rate that fits (variable rate, lost frames) it is that of the quickest frames but a tenth, or the next
    standard rate above: less would drop frames, more would only repeat them.
    """
    pts = index.pts
    if len(pts) == 1:
        return Rate(stated, constant=True)
    mean = Fraction(len(pts) - 1, pts[-1] - pts[0]) / index.time_base
    near = [rate for rate in (stated, *CAMERA_RATES) if abs(rate / mean - 1) <= NEAR]
    for candidates in ([rate for rate in near if rate in CAMERA_RATES], [*near, mean.limit_denominator(100_000)]):
        worst = [(_deviation(pts, index.time_base * rate), rate) for rate in candidates]
        best = min((deviation for deviation, _ in worst), default=1.0)
        if best <= 0.5:  # of rates that fit equally well, the stated one is the likelier
            return Rate(next(rate for deviation, rate in worst if deviation <= best + 0.02), constant=True)
    gaps = sorted(b - a for a, b in pairwise(pts))
    quick = 1 / (gaps[len(gaps) // 10] * index.time_base)
    if abs(stated / quick - 1) <= NEAR:
        return Rate(stated, constant=False)
    nearest = min(CAMERA_RATES, key=lambda rate: abs(rate - quick))
    above = [rate for rate in CAMERA_RATES if rate >= quick] or [CAMERA_RATES[-1]]
    return Rate(nearest if abs(nearest / quick - 1) <= NEAR else above[0], constant=False)


def _deviation(pts: Sequence[int], frames_per_tick: Fraction) -> float:
    """The largest distance of a frame from its place on the grid, in frames."""
    scale, first = float(frames_per_tick), pts[0]
    last = len(pts) - 1
    at_end = abs((pts[last] - first) * scale - last)
    if at_end > 0.5:
        return at_end
    return max(abs((value - first) * scale - number) for number, value in enumerate(pts))


def source_rows(index: FrameIndex) -> list[FrameRow]:
    """Every source frame once, at its own time, the first at 0."""
    _check_count(len(index.pts))
    first = index.pts[0]
    return [FrameRow(source, pts - first) for source, pts in zip(_names(index), index.pts, strict=True)]


def thinned_rows(index: FrameIndex, rate: Rate, most: Fraction) -> list[FrameRow]:
    """Of a source faster than `most` frames per second, those that a constant rate of `most` shows, at their own times.

    Where such a source is slow for a while, it loses none.
    """
    kept = {row.source for row in constant_rows(index, rate, most)}
    return [row for row in source_rows(index) if row.source in kept]


def constant_rows(index: FrameIndex, rate: Rate, output: Fraction) -> list[FrameRow]:
    """Output frame k, at time k / `output`, shows the source frame nearest to that time.

    When none is nearer than half an output frame, the frame that is still on the screen then is shown again. A source
    of constant rate counts as lying exactly on its grid, so that rounded or jittery times neither repeat nor drop one.
    """
    pts = index.pts
    if rate.constant and abs(output / rate.fps - 1) * len(pts) <= Fraction(1, 2):
        _check_count(len(pts))
        return [FrameRow(source, number) for number, source in enumerate(_names(index))]
    if rate.constant:
        step = float(output / rate.fps)
        places = [number * step for number in range(len(pts))]
        count = -int(-len(pts) * output // rate.fps)
    else:
        scale = float(index.time_base * output)
        places = [(value - pts[0]) * scale for value in pts]
        count = round((pts[-1] - pts[0] + index.last_duration) * index.time_base * output)
    _check_count(count)
    names = _names(index)
    return [FrameRow(names[shown], number) for number, shown in enumerate(_shown(places, max(1, count)))]


def phase_s(index: FrameIndex, rows: Sequence[FrameRow], time_base: Fraction) -> Fraction:
    """Seconds by which the source's frames come after the times that `rows` show them at, counted from the first frame.

    It is the median over the frames: sound that is moved by as much suits most of them, where sound that follows the
    first one alone would be off for the whole video when that one came late or early (seen: 14 ms).
    """
    ticks, first = index.time_base / time_base, index.pts[0]
    late = []
    for source, shown in groupby(rows, lambda row: row.source):
        pts = source if index.matching == "pts" else index.pts[source]
        late.append((pts - first) * ticks.numerator - next(shown).pts * ticks.denominator)
    return Fraction(median_low(late), ticks.denominator) * time_base


def held_rows(rows: Sequence[FrameRow], ticks_per_frame: Fraction, sound_ticks: float) -> list[FrameRow]:
    """`rows`, and their last frame again until the sound ends, `sound_ticks` after the first frame; whole frames only.

    A song below a single picture is a song: cutting it to the picture's length would lose it.
    """
    first, last = len(rows), rows[-1]
    more = int((sound_ticks - last.pts) / ticks_per_frame) - 1
    _check_count(first + more)
    return [*rows, *(FrameRow(last.source, last.pts + round(n * ticks_per_frame)) for n in range(1, more + 1))]


def _shown(places: Sequence[float], count: int) -> Iterable[int]:
    """For each whole place 0 … `count` - 1 the number of the frame shown there; `places` rise from 0."""
    last = len(places) - 1
    nearest = 0
    for place in range(count):
        while nearest < last and abs(places[nearest + 1] - place) <= abs(places[nearest] - place):
            nearest += 1
        distance = places[nearest] - place
        yield nearest - 1 if distance > 0.5 else nearest


def _names(index: FrameIndex) -> Sequence[int]:
    """What `FrameRow.source` calls each frame: its pts, or its ordinal."""
    return index.pts if index.matching == "pts" else range(len(index.pts))


def _check_count(count: int) -> None:
    if count > MAX_ROWS:
        raise LimitExceeded(
            f"the video would have {count:,} frames, more than the {MAX_ROWS:,} allowed",
            detail={"limit": "frames", "allowed": MAX_ROWS, "found": count},
        )
