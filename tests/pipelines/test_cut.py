"""Where videos are cut: on the grid, evenly, and not at the price of decoding everything many times."""

from fractions import Fraction
from itertools import pairwise

import pytest

from pipelines.cut import at_bounds, cut
from pipelines.plan import ChunkPlan, FrameIndex, FrameRow

FPS, GOP = 30, 60


def source(seconds: int, key_every: int, *, chunkable: bool = True) -> tuple[FrameIndex, list[FrameRow]]:
    count = seconds * FPS
    keys = tuple(range(0, count, key_every))
    found = FrameIndex(Fraction(1, FPS), tuple(range(count)), keys, "pts", chunkable, None, 1)
    return found, [FrameRow(n, n) for n in range(count)]


def chunks(seconds: int, key_every: int, target: int, **changes: bool) -> tuple[ChunkPlan, ...]:
    found, rows = source(seconds, key_every, chunkable=changes.pop("chunkable", True))
    options = {"tone_map": False, "deinterlace": False} | changes
    return cut(found, rows, fps=FPS, gop_frames=GOP, target_chunks=target, **options)


def lengths_s(cuts: tuple[ChunkPlan, ...]) -> list[float]:
    return [(c.end_frame - c.start_frame) / FPS for c in cuts]


@pytest.mark.parametrize("seconds", [1, 7, 61, 600, 3601])
@pytest.mark.parametrize("key_every", [1, 47, 250, 10_000])
@pytest.mark.parametrize("target", [1, 2, 7, 64])
def test_chunks_cover_every_frame_once_and_begin_on_the_grid(seconds: int, key_every: int, target: int) -> None:
    cuts = chunks(seconds, key_every, target)
    assert cuts[0].start_frame == 0
    assert cuts[-1].end_frame == seconds * FPS
    assert all(a.end_frame == b.start_frame for a, b in pairwise(cuts))
    assert all(c.start_frame % GOP == 0 and c.end_frame > c.start_frame for c in cuts)
    assert [c.number for c in cuts] == list(range(len(cuts)))


def test_chunks_are_neither_shorter_than_four_seconds_nor_longer_than_a_minute() -> None:
    assert len(chunks(60, 30, 1000)) == 15
    assert len(chunks(600, 30, 1)) == 10
    assert min(lengths_s(chunks(60, 30, 1000))) >= 4


def test_a_clip_of_nine_seconds_keeps_two_cores_busy() -> None:
    assert len(chunks(9, 30, 2)) == 2
    assert max(lengths_s(chunks(600, 30, 1))) <= 62


def test_a_minute_for_two_slots_is_cut_in_the_middle() -> None:
    assert lengths_s(chunks(60, 250, 2)) == pytest.approx([30, 30], abs=2.1)


def test_chunks_with_a_tone_map_are_long_enough_to_pay_for_its_table() -> None:
    assert len(chunks(60, 30, 100, tone_map=True)) == 2


def test_a_cut_moves_a_little_to_where_much_less_is_decoded_in_vain() -> None:
    count = 120 * FPS
    found = FrameIndex(Fraction(1, FPS), tuple(range(count)), (0, 64 * FPS), "pts", True, None, 1)
    rows = [FrameRow(n, n) for n in range(count)]
    cuts = cut(found, rows, fps=FPS, gop_frames=GOP, target_chunks=2, tone_map=False, deinterlace=False)
    assert [c.start_frame for c in cuts] == [0, 64 * FPS]


def test_a_source_with_one_key_frame_is_cut_into_few_chunks_because_each_decodes_from_the_top() -> None:
    cuts = chunks(600, 1_000_000, 64)
    assert len(cuts) == 2
    assert [c.seek_pts for c in cuts] == [(), (0,)]


def test_a_source_that_cannot_be_entered_in_the_middle_is_one_chunk() -> None:
    assert len(chunks(600, 30, 64, chunkable=False)) == 1


def test_a_chunk_knows_the_key_frames_before_it_nearest_last() -> None:
    found, rows = source(60, 20)
    middle = at_bounds(found, rows, [0, 900, 1800], deinterlace=False)[1]
    assert middle.seek_pts == (740, 820, 860, 880, 900)
    assert middle.lead == ()
    assert middle.tail == ()


def test_a_deinterlaced_chunk_also_sees_the_frames_beside_it() -> None:
    found, rows = source(60, 20)
    first, middle, last = at_bounds(found, rows, [0, 600, 1200, 1800], deinterlace=True)
    assert (first.lead, first.tail) == ((), (600,))
    assert (middle.lead, middle.tail) == ((599,), (1200,))
    assert (last.lead, last.tail) == ((1199,), ())
    assert middle.seek_pts[-1] == 580, "the frame beside it must be decoded too"


def test_neighbours_are_source_frames_even_where_the_output_repeats_or_drops_some() -> None:
    found = FrameIndex(Fraction(1, 1000), tuple(range(0, 4000, 10)), (0, 1000, 2000, 3000), "pts", True, None, 10)
    rows = [FrameRow(n * 20, n) for n in range(200)]  # every second source frame
    middle = at_bounds(found, rows, [0, 60, 120, 200], deinterlace=True)[1]
    assert middle.lead == (1190,)
    assert middle.tail == (2390,)
