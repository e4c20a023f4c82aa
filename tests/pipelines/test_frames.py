"""The frame map: rates found from times, and which source frame every output frame shows."""

import random
from fractions import Fraction
from itertools import pairwise

import pytest

from pipelines.errors import LimitExceeded
from pipelines.frames import (
    ROW_BYTES,
    Rate,
    constant_rows,
    pack_rows,
    phase_s,
    source_rate,
    source_rows,
    unpack_rows,
)
from pipelines.plan import FrameIndex, FrameRow

MS = Fraction(1, 1000)
NTSC = Fraction(30_000, 1001)


def index(pts: list[int], time_base: Fraction = MS, last: int = 40, matching: str = "pts") -> FrameIndex:
    return FrameIndex(time_base, tuple(pts), (pts[0],), matching, True, None, last)  # type: ignore[arg-type]


def grid(rate: Fraction, count: int, time_base: Fraction = MS, jitter: float = 0.0, seed: int = 1) -> list[int]:
    noise = random.Random(seed)
    return [round((n + noise.uniform(-jitter, jitter)) / rate / time_base) for n in range(count)]


def shown(found: FrameIndex, rate: Rate, output: Fraction) -> list[int]:
    """The number of the source frame of each row."""
    place = {value: number for number, value in enumerate(found.pts)}
    return [place[row.source] for row in constant_rows(found, rate, output)]


@pytest.mark.parametrize(
    "rate", [Fraction(24_000, 1001), Fraction(25), NTSC, Fraction(30), Fraction(60), Fraction(25, 2)]
)
def test_times_rounded_to_milliseconds_still_give_their_exact_rate_and_every_frame_once(rate: Fraction) -> None:
    found = index(grid(rate, 3000))
    measured = source_rate(found, Fraction(1000))  # what some containers claim
    assert measured == Rate(rate, constant=True)
    assert shown(found, measured, rate) == list(range(3000))


def test_jitter_of_a_fifth_of_a_frame_neither_repeats_nor_drops_a_frame() -> None:
    found = index(grid(Fraction(30), 2000, jitter=0.2))
    measured = source_rate(found, Fraction(30))
    assert measured == Rate(Fraction(30), constant=True)
    assert shown(found, measured, Fraction(30)) == list(range(2000))


def test_between_two_rates_that_fit_a_short_clip_the_stated_one_is_taken() -> None:
    found = index(grid(NTSC, 20))
    assert source_rate(found, NTSC).fps == NTSC


def test_an_unusual_but_constant_rate_is_kept() -> None:
    found = index([n * 5005 for n in range(400)], Fraction(1, 90_000))
    measured = source_rate(found, Fraction(18))
    assert measured.constant
    assert measured.fps == Fraction(90_000, 5005)
    assert shown(found, measured, measured.fps) == list(range(400))


def test_a_rate_cap_takes_every_second_frame_even_when_times_jitter() -> None:
    found = index(grid(Fraction(120), 1001, time_base=Fraction(1, 90_000), jitter=0.3), Fraction(1, 90_000))
    assert shown(found, Rate(Fraction(120), constant=True), Fraction(60)) == list(range(0, 1001, 2))


def test_an_output_rate_a_millionth_off_does_not_repeat_the_last_frame() -> None:
    found = index(grid(Fraction(30), 500))
    assert len(constant_rows(found, Rate(Fraction(30), constant=True), Fraction(30_000_030, 1_000_000))) == 500


def test_frames_lost_in_a_constant_source_are_bridged_by_the_frame_before_them() -> None:
    pts = grid(Fraction(25), 100)
    del pts[40:43]
    found = index(pts)
    measured = source_rate(found, Fraction(25))
    assert measured == Rate(Fraction(25), constant=False)
    numbers = shown(found, measured, Fraction(25))
    assert len(numbers) == 100
    assert numbers[38:46] == [38, 39, 39, 39, 39, 40, 41, 42]


def test_a_variable_source_shows_at_every_moment_the_nearest_frame_or_the_one_still_on_screen() -> None:
    noise = random.Random(7)
    pts = [0]
    for _ in range(400):
        pts.append(pts[-1] + noise.choice([16, 17, 33, 34, 50, 120, 400]))
    found = index(pts)
    measured = source_rate(found, Fraction(30))
    assert not measured.constant
    output = Fraction(30)
    half = 1000 / float(output) / 2
    for number, frame in enumerate(shown(found, measured, output)):
        at = number * 1000 / float(output)
        distance = min(abs(value - at) for value in pts)
        if distance < half - 1e-6:
            assert abs(pts[frame] - at) == pytest.approx(distance)
        elif distance > half + 1e-6:
            assert pts[frame] == max(value for value in pts if value <= at)


def test_rows_never_go_back_in_the_source() -> None:
    found = index(sorted(random.Random(3).sample(range(20_000), 500)))
    for output in (Fraction(10), NTSC, Fraction(60)):
        numbers = shown(found, Rate(Fraction(25), constant=False), output)
        assert all(a <= b for a, b in pairwise(numbers))


def test_the_last_frame_is_held_for_as_long_as_the_source_holds_it() -> None:
    found = index([0, 40, 80, 120, 1000], last=2000)
    rows = constant_rows(found, Rate(Fraction(25), constant=False), Fraction(25))
    assert len(rows) == 75
    assert {row.source for row in rows[25:]} == {1000}


def test_a_single_frame_has_the_stated_rate() -> None:
    found = index([123], last=40)
    assert source_rate(found, Fraction(25)) == Rate(Fraction(25), constant=True)
    assert constant_rows(found, Rate(Fraction(25), constant=True), Fraction(25)) == [FrameRow(123, 0)]


@pytest.mark.parametrize("late_ms", [14, -14])
def test_all_frames_but_the_first_decide_how_late_the_frames_are(late_ms: int) -> None:
    pts = [0, *(value + late_ms for value in grid(Fraction(25), 100)[1:])]
    for matching in ("pts", "ordinal"):
        found = index(pts, matching=matching)
        rows = constant_rows(found, source_rate(found, Fraction(25)), Fraction(25))
        assert phase_s(found, rows, Fraction(1, 25)) == Fraction(late_ms, 1000)


def test_one_late_frame_and_times_rounded_to_milliseconds_do_not_make_the_frames_late() -> None:
    pts = grid(NTSC, 999)
    pts[500] += 12
    found = index(pts)
    rows = constant_rows(found, source_rate(found, NTSC), NTSC)
    assert abs(phase_s(found, rows, 1 / NTSC)) < MS / 2


def test_a_frame_that_is_shown_again_counts_once_for_how_late_the_frames_are() -> None:
    found = index([0, *(1000 + 40 * n for n in range(10))])
    rows = constant_rows(found, Rate(Fraction(25), constant=False), Fraction(25))
    assert len(rows) == 35
    assert phase_s(found, rows, Fraction(1, 25)) == 0


def test_two_frames_a_day_apart_do_not_become_millions() -> None:
    found = index([0, 40, 24 * 3600 * 1000], last=40)
    with pytest.raises(LimitExceeded, match="frames"):
        constant_rows(found, Rate(Fraction(60), constant=False), Fraction(60))


def test_source_timing_keeps_every_time_from_the_first() -> None:
    assert source_rows(index([500, 533, 600])) == [FrameRow(500, 0), FrameRow(533, 33), FrameRow(600, 100)]


def test_frames_without_times_of_their_own_are_called_by_their_number() -> None:
    assert [row.source for row in source_rows(index([0, 33, 67], matching="ordinal"))] == [0, 1, 2]


def test_packed_rows_come_back_and_lie_in_sixteen_bytes_each_with_the_low_byte_first() -> None:
    rows = [FrameRow(-5, 0), FrameRow(1 << 40, 1)]
    data = pack_rows(rows)
    assert len(data) == 2 * ROW_BYTES
    assert data[16:24] == (1 << 40).to_bytes(8, "little")
    assert unpack_rows(data) == rows
    assert unpack_rows(data[ROW_BYTES:]) == rows[1:]
