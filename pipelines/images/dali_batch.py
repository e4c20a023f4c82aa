"""A batch on its way through DALI: what goes in of it, and what became of each picture."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.images.cascade import cut
from pipelines.images.dali_graph import Cascade, Decoded, stored_size
from pipelines.images.engine import Rendered, Size, StillSpec
from pipelines.images.facts import Header
from pipelines.images.jpeg_end import is_damaged


@dataclass(frozen=True, slots=True)
class Task:
    """One picture and what is to be made of it."""

    path: str
    header: Header
    wanted: tuple[StillSpec, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """DALI could not decode a picture, or its turn did not come: another engine decides whether it is good."""

    reason: str


Outcome = Rendered | Refused


@dataclass(frozen=True, slots=True)
class Room:
    """What a batch may hold."""

    pixels: int  # of source pictures
    still_pixels: int  # of all stills

    def left_after(self, task: Task) -> "Room":
        """The room beside a picture; negative where it has none."""
        stills = sum(width * height for width, height in {spec.scaled for spec in task.wanted})
        return Room(self.pixels - task.header.width * task.header.height, self.still_pixels - stills)


def bounded(tasks: Iterable[Task], count: int, room: Room) -> Iterator[list[Task]]:
    """`tasks` in batches of at most `count`, each within `room`; a picture that has none goes alone."""
    batch: list[Task] = []
    left = room
    for task in tasks:
        after = left.left_after(task)
        if batch and (len(batch) == count or min(after.pixels, after.still_pixels) < 0):
            yield batch
            batch, after = [], room.left_after(task)
        batch.append(task)
        left = after
    if batch:
        yield batch


@dataclass(slots=True)
class Batch:
    """What DALI's own parser understands of a batch, and why the rest is refused."""

    tasks: list[Task]
    jpegs: list[np.ndarray]
    cascades: list[Cascade]
    places: list[int]  # of these in the batch as it was given
    refused: dict[int, Refused]  # by their places
    started: float = 0.0

    @classmethod
    def of(cls, tasks: Sequence[Task], pool: Executor) -> "Batch":
        """Read the files. What is not what its header was read to be never gets to a decoder."""
        batch = cls([], [], [], [], {})
        for place, (task, jpeg) in enumerate(zip(tasks, pool.map(_read, tasks), strict=True)):
            if isinstance(jpeg, Refused):
                batch.refused[place] = jpeg
                continue
            batch.tasks.append(task)
            batch.jpegs.append(jpeg)
            batch.cascades.append(Cascade.of(spec.scaled for spec in task.wanted))
            batch.places.append(place)
        return batch

    def part(self, places: Sequence[int]) -> "Batch":
        """Some of its tasks."""
        return Batch(
            [self.tasks[place] for place in places],
            [self.jpegs[place] for place in places],
            [self.cascades[place] for place in places],
            list(range(len(places))),
            {},
        )

    def rendered(self, decoded: Sequence[Decoded], pool: Executor) -> list[Outcome]:
        """What became of its tasks."""
        each_s = (time.monotonic() - self.started) / len(self.tasks)
        return list(pool.map(partial(_outcome, each_s=each_s), self.tasks, decoded))

    def outcomes(self, of_tasks: Sequence[Outcome]) -> list[Outcome]:
        """Of the batch as it was given."""
        every = self.refused | dict(zip(self.places, of_tasks, strict=True))
        return [every[place] for place in range(len(every))]


def _read(task: Task) -> np.ndarray | Refused:
    """The picture itself, as DALI gets it."""
    content = Path(task.path).read_bytes()
    jpeg = np.frombuffer(content, np.uint8)
    size = stored_size(jpeg)
    if size != (task.header.width, task.header.height):
        return _misread(size, (task.header.width, task.header.height))
    # Decoders for GPUs make something up where data is missing or damaged, and say nothing: of 36 files that the
    # processors refuse 20 came out. Asking costs 38 ms for a photo of 12 MP, half of what a GPU saves.
    return Refused("DALI gets no JPEG that FFmpeg finds damaged") if is_damaged(content) else jpeg


def _outcome(task: Task, decoded: Decoded, each_s: float) -> Outcome:
    if decoded.size != task.header.upright_size:
        return _misread(decoded.size, task.header.upright_size)
    stills = {spec: cut(decoded.pictures[spec.scaled], spec) for spec in task.wanted}
    # DALI's threads work for the whole batch beside the encoders': no CPU time is one picture's.
    return Rendered(stills, {"batch_wall": each_s})


def _misread(found: Size | None, expected: Size) -> Refused:
    if found is None:
        return Refused("DALI cannot parse its header")
    return Refused(f"DALI finds {found[0]}×{found[1]} in it, and its header says {expected[0]}×{expected[1]}")
