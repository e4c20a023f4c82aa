"""Sources put together by what they are: a million of them are a few hundred forms."""

import math
from dataclasses import dataclass, replace

from pipelines.shapes import Shape

MOST = 300  # forms that are told apart; beyond, those whose sizes are nearly the same become one
FIRST_STEP = 1 / 8  # of an octave
BLURRED = 1.0  # from this step on also codecs and numbers of tracks, of which there is no end, are one


@dataclass(frozen=True, slots=True)
class Alike:
    """So many sources of one shape; its duration is their mean."""

    shape: Shape
    items: int


class Forms:
    """Counts sources by their shapes, `MOST` at most."""

    def __init__(self) -> None:
        self._found: dict[Shape, tuple[int, float]] = {}  # by shape without its duration: items, seconds
        self._step = 0.0

    def add(self, shape: Shape) -> None:
        """One more source."""
        self._add(replace(shape, duration_s=0.0, frame_rate=round(shape.frame_rate, 2)), 1, shape.duration_s)
        while len(self._found) > MOST:
            self._step = max(FIRST_STEP, 2 * self._step)
            found, self._found = self._found, {}
            for known, (items, seconds) in found.items():
                self._add(known, items, seconds)

    def all(self) -> list[Alike]:
        """Every form."""
        return [Alike(replace(shape, duration_s=s / items), items) for shape, (items, s) in self._found.items()]

    def _add(self, shape: Shape, items: int, seconds: float) -> None:
        if self._step:
            width, height = (max(1, round(self._rounded(side))) if side else 0 for side in (shape.width, shape.height))
            frames = max(1, round(self._rounded(shape.frames)))
            rate = round(self._rounded(shape.frame_rate), 2)
            shape = replace(shape, width=width, height=height, frame_rate=rate, frames=frames)
        if self._step >= BLURRED:
            shape = replace(shape, codec="", tracks=min(1, shape.tracks))
        before = self._found.get(shape, (0, 0.0))
        self._found[shape] = (before[0] + items, before[1] + seconds)

    def _rounded(self, value: float) -> float:
        return float(2 ** (round(math.log2(value) / self._step) * self._step)) if value > 0 else 0.0
