"""Many pictures become many, those that DALI turns faster in batches; the others are left to the processors.

What is left is decoded in another process, one that is forked for it (`pipelines.images.server`): this one stays, with
everybody's pictures, so that of strangers' bytes it shows to a decoder only what has passed the gate.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import MediaError
from pipelines.images.capability import ImageSpeed, dali_pays
from pipelines.images.dali_batch import Outcome, Refused, Task
from pipelines.images.dali_engine import DaliEngine
from pipelines.images.request import ImageRequest, ImageResult, NotDone
from pipelines.images.turn import Opened, finish, open_image
from pipelines.signatures import HEAD_BYTES, signature

Turned = tuple[int, ImageResult | MediaError | NotDone]


@dataclass(frozen=True, slots=True)
class BatchTurner:
    """Turns batches with one engine, kept warm, and a record that says what to give it."""

    engine: DaliEngine
    record: ImageSpeed | None  # without one DALI gets nothing
    threads: int  # that encode, beside DALI's own

    def turn(self, requests: Sequence[ImageRequest]) -> Iterator[Turned]:
        """Each request's number and what became of it, as they get ready. One bad picture is one error, or not done.

        Raises MediaProcessFailed where DALI does not work, whatever the pictures; those that are missing are not done.
        """
        with ThreadPoolExecutor(self.threads, "image") as pool:
            opened = list(pool.map(_opened, requests))
            chosen = self._chosen(opened)
            yield from ((number, _left(one)) for number, one in enumerate(opened) if number not in chosen)
            yield from self._decoded(chosen, pool)

    def _chosen(self, opened: "Sequence[Opened | MediaError | NotDone]") -> dict[int, Opened]:
        """What DALI gets: where the gate lets it and the record says that it pays for so many."""
        may = {number: one for number, one in enumerate(opened) if isinstance(one, Opened) and one.engine == "dali"}
        return {number: one for number, one in may.items() if dali_pays(self.record, _megapixels(one), len(may))}

    def _decoded(self, chosen: dict[int, Opened], pool: ThreadPoolExecutor) -> Iterator[Turned]:
        """Encoded while the next batch is decoded; at most two batches of decoded pictures are held."""
        numbers = list(chosen)
        tasks = [Task(one.request.source_path, one.found.header, one.wanted) for one in chosen.values()]
        count = self.record.batch if self.record else 1
        done = 0
        before: list[Future[Turned]] = []
        for outcomes in self.engine.run(self.engine.batches(tasks, count)):
            batch = numbers[done : done + len(outcomes)]
            done += len(outcomes)
            futures = [
                pool.submit(_finished, number, chosen[number], outcome)
                for number, outcome in zip(batch, outcomes, strict=True)
            ]
            yield from _ready(before)
            before = futures
        yield from _ready(before)


def _opened(request: ImageRequest) -> Opened | MediaError | NotDone:
    try:
        with Path(request.source_path).open("rb") as file:
            if signature(file.read(HEAD_BYTES)).format != "jpeg":  # whose parsers cannot hold up this process
                return NotDone("not a JPEG")
        return open_image(request, dali=True)
    except MediaError as error:
        return error
    except Exception as error:  # noqa: BLE001 - it fails no other picture
        return _unforeseen(error)


def _left(opened: Opened | MediaError | NotDone) -> MediaError | NotDone:
    """Why DALI does not get it."""
    if not isinstance(opened, Opened):
        return opened
    if opened.engine != "dali":
        return NotDone(opened.why)
    return NotDone("no measurement says that DALI would be faster")


def _finished(number: int, opened: Opened, outcome: Outcome) -> Turned:
    if isinstance(outcome, Refused):
        return number, NotDone(outcome.reason)
    try:
        return number, finish(opened, outcome)
    except MediaError as error:
        return number, error
    except Exception as error:  # noqa: BLE001 - it fails no other picture
        return number, _unforeseen(error)


def _unforeseen(error: Exception) -> NotDone:
    """The process that is forked for the picture has the last word: it can say what a lack of memory means, and a bug
    comes to light there."""
    return NotDone(f"the GPU process met with {error!r}"[:300])


def _megapixels(opened: Opened) -> float:
    return opened.found.header.width * opened.found.header.height / 1e6


def _ready(futures: "Sequence[Future[Turned]]") -> Iterator[Turned]:
    return (future.result() for future in as_completed(futures))
