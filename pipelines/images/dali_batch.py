"""A batch on its way through DALI: what goes in of it, and what became of each picture."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.errors import TruncatedMedia
from pipelines.images.cascade import still_of_rgb
from pipelines.images.dali_graph import Cascade, Decoded, stored_size
from pipelines.images.engine import Rendered, Size, StillSpec
from pipelines.images.facts import Header
from pipelines.images.jpeg_end import may_be_filled, refuse_filled


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


def bounded(tasks: Iterable[Task], count: int, pixels: int) -> Iterator[list[Task]]:
    """`tasks` in batches of at most `count` and, of source pictures, `pixels`; a picture of more goes alone."""
    batch: list[Task] = []
    held = 0
    for task in tasks:
        more = task.header.width * task.header.height
        if batch and (len(batch) == count or held + more > pixels):
            yield batch
            batch, held = [], 0
        batch.append(task)
        held += more
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
    def of(cls, tasks: Sequence[Task]) -> "Batch":
        """Read the files. What is not of the size that its header was read to have never gets to a decoder."""
        batch = cls([], [], [], [], {})
        for place, task in enumerate(tasks):
            jpeg = np.frombuffer(Path(task.path).read_bytes(), np.uint8)
            size = stored_size(jpeg)
            if size == (task.header.width, task.header.height):
                batch.tasks.append(task)
                batch.jpegs.append(jpeg)
                batch.cascades.append(Cascade.of(spec.scaled for spec in task.wanted))
                batch.places.append(place)
            else:
                batch.refused[place] = _misread(size, (task.header.width, task.header.height))
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

    def rendered(self, decoded: Sequence[Decoded]) -> list[Outcome]:
        """What became of its tasks."""
        each_s = (time.monotonic() - self.started) / len(self.tasks)
        return [_outcome(task, one, each_s) for task, one in zip(self.tasks, decoded, strict=True)]

    def outcomes(self, of_tasks: Sequence[Outcome]) -> list[Outcome]:
        """Of the batch as it was given."""
        every = self.refused | dict(zip(self.places, of_tasks, strict=True))
        return [every[place] for place in range(len(every))]


def _outcome(task: Task, decoded: Decoded, each_s: float) -> Outcome:
    if decoded.size != task.header.upright_size:
        return _misread(decoded.size, task.header.upright_size)
    stills = {spec: still_of_rgb(decoded.pictures[spec.scaled], spec) for spec in task.wanted}
    largest = max(decoded.pictures, key=lambda size: size[0] * size[1])
    whole = still_of_rgb(decoded.pictures[largest], StillSpec(largest, largest))
    if may_be_filled(whole, task.header.orientation):
        try:
            refuse_filled(task.path)
        except TruncatedMedia as error:
            return Refused(error.public_message)
    # DALI's threads work for the whole batch beside the encoders': no CPU time is one picture's.
    return Rendered(stills, {"batch_wall": each_s})


def _misread(found: Size | None, expected: Size) -> Refused:
    if found is None:
        return Refused("DALI cannot parse its header")
    return Refused(f"DALI finds {found[0]}×{found[1]} in it, and its header says {expected[0]}×{expected[1]}")
