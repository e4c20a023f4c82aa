"""Where a video is cut into chunks: on the output's GOP grid, as near behind source key frames as that allows."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from pipelines.plan import ChunkPlan, FrameIndex, FrameRow

# Below, start-up and frames decoded in vain weigh; above, a lost worker loses too much. At 6 s a clip of 9 s, which is
# what people try a farm with, left every core but one idle.
MIN_S, MAX_S = 4.0, 60.0
# A tone map builds a table for about 5 s of CPU time in every chunk: at 30 s and more that is a few percent.
MIN_MAPPED_S = 30.0
BACK = (8, 4, 2, 1, 0)  # places to start decoding at, in key frames before the nearest one, the farthest first
DECODE_SHARE = 1 / 8  # what decoding a frame costs, of what encoding it for the whole ladder costs; measured at 1080p
MAX_WASTE = 0.1  # of a job's work that cutting may add
NEIGHBOURS = 1  # frames that the deinterlacer looks at on either side


def cut(
    index: FrameIndex,
    rows: Sequence[FrameRow],
    *,
    fps: float,
    gop_frames: int,
    target_chunks: int,
    tone_map: bool,
    deinterlace: bool,
) -> tuple[ChunkPlan, ...]:
    """The chunks of a video, about `target_chunks` of them; one when the source cannot be entered in the middle."""
    grid = _Grid(index, rows, gop_frames)
    bounds = [0, len(rows)]
    if index.chunkable:
        wanted = chunks_wanted(len(rows) / fps, target_chunks, grid.places, tone_map=tone_map)
        while wanted > 1:
            tried = grid.bounds(wanted)
            if grid.in_vain(tried) * DECODE_SHARE <= MAX_WASTE * len(rows):
                bounds = tried
                break
            wanted = wanted * 3 // 4
    return at_bounds(index, rows, bounds, deinterlace=deinterlace)


def chunks_wanted(length_s: float, target_chunks: int, places: int, *, tone_map: bool) -> int:
    """How many chunks a video of that length is cut into where its key frames let it, at `places` at most; 0 or 1 is
    one.
    """
    shortest = MIN_MAPPED_S if tone_map else MIN_S
    return min(max(target_chunks, -int(-length_s // MAX_S)), int(length_s // shortest), places)


def at_bounds(
    index: FrameIndex, rows: Sequence[FrameRow], bounds: Sequence[int], *, deinterlace: bool
) -> tuple[ChunkPlan, ...]:
    """The chunks between `bounds`: output frames, rising, from 0 to the number of rows."""
    neighbours = NEIGHBOURS if deinterlace else 0
    return tuple(
        _chunk(index, rows, number, start, end, neighbours) for number, (start, end) in enumerate(pairwise(bounds))
    )


class _Grid:
    """What it costs to begin a chunk at each place of the output's GOP grid."""

    def __init__(self, index: FrameIndex, rows: Sequence[FrameRow], gop_frames: int) -> None:
        self._index, self._rows, self._gop = index, rows, gop_frames
        self.places = -(-len(rows) // gop_frames)

    def bounds(self, count: int) -> list[int]:
        """Cuts into about `count` chunks of about equal length, nudged to where that saves more decoding than it costs
        in evenness: chunks run side by side, and the longest decides.
        """
        step = len(self._rows) / count
        reach = max(1, int(step / 4 / self._gop))
        chosen = [0]
        for number in range(1, count):
            ideal = number * step
            middle = round(ideal / self._gop)
            near = [place * self._gop for place in range(middle - reach, middle + reach + 1)]
            bound = min(near, key=lambda start: abs(start - ideal) + self._in_vain(start) * DECODE_SHARE)
            if chosen[-1] < bound < len(self._rows):
                chosen.append(bound)
        return [*chosen, len(self._rows)]

    def in_vain(self, bounds: Sequence[int]) -> int:
        """Source frames that are decoded only to get to the starts of chunks."""
        return sum(self._in_vain(start) for start in bounds[1:-1])

    def _in_vain(self, start: int) -> int:
        if not 0 < start < len(self._rows):
            return 0
        index = self._index
        source = self._rows[start].source
        key = index.keys[max(0, bisect_right(index.keys, source) - 1)]
        return max(0, bisect_left(index.pts, source) - bisect_left(index.pts, key))


def _chunk(
    index: FrameIndex, rows: Sequence[FrameRow], number: int, start: int, end: int, neighbours: int
) -> ChunkPlan:
    first, last = rows[start].source, rows[end - 1].source
    names: Sequence[int] = index.pts if index.matching == "pts" else range(len(index.pts))
    at, stop = bisect_left(names, first), bisect_left(names, last) + 1
    lead = tuple(names[max(0, at - neighbours) : at])
    nearest = bisect_right(index.keys, lead[0] if lead else first) - 1
    places = sorted({nearest - back for back in BACK if nearest - back >= 0}) if start else []
    return ChunkPlan(
        number=number,
        start_frame=start,
        end_frame=end,
        seek_pts=tuple(index.keys[place] for place in places),
        lead=lead,
        tail=tuple(names[stop : stop + neighbours]),
    )
