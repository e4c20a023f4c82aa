"""Pictures wait a moment for one another, then go to an engine together."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.errors import InfraError, WorkerLost
from cluster.slots import PRIORITIES, Slots
from cluster.work import Work
from pipelines.errors import MediaError

Told = Callable[[str, dict[str, Any]], None]


class ImageRunner(Protocol):
    """Turns batches of pictures somewhere."""

    async def turn_images(self, works: Sequence[Work], tell: Told) -> None:
        """Turn them all; `tell` is called for each as soon as it is done, see `cluster.images.engine`."""
        ...

    async def cancel_image(self, job_id: str) -> None:
        """End what is done for that job."""
        ...


@dataclass(slots=True)
class Waiting:
    """A picture whose batch is not done yet."""

    work: Work
    age: float
    outcome: asyncio.Future[dict[str, Any]]


@dataclass(slots=True)
class ImageBatches:
    """One queue for each class of work; a batch takes one slot, as a chunk of a video does.

    What is queued when its slot comes is one batch: an idle farm waits `wait_s` at most, a busy one makes larger ones.
    """

    runner: ImageRunner
    slots: Slots
    wait_s: float  # how long the first picture waits for others
    most: int  # pictures of one batch
    _queues: dict[str, list[Waiting]] = field(default_factory=lambda: {name: [] for name in PRIORITIES})
    _carriers: set[asyncio.Task[None]] = field(default_factory=set)
    _waiting_for_slot: set[str] = field(default_factory=set)

    async def turned(self, work: Work, priority: str, age: float) -> dict[str, Any]:
        """What was made of the picture: revision, manifest key, report. Raises MediaError or InfraError."""
        waiting = Waiting(work, age, asyncio.get_running_loop().create_future())
        self._queues[priority].append(waiting)
        self._carry(priority)
        try:
            outcome = await waiting.outcome
        except asyncio.CancelledError:
            if waiting in self._queues[priority]:
                self._queues[priority].remove(waiting)
            else:
                await asyncio.shield(self.runner.cancel_image(work.job_id))
            raise
        if "media_error" in outcome:
            raise MediaError.from_wire(outcome["media_error"])
        if "infra_error" in outcome:
            raise InfraError.from_wire(outcome["infra_error"])
        if "bug" in outcome:
            raise outcome["bug"]
        return dict(outcome["result"])

    def _carry(self, priority: str) -> None:
        """Have somebody wait for a slot for what is queued, unless somebody does."""
        if priority in self._waiting_for_slot or not self._queues[priority]:
            return
        self._waiting_for_slot.add(priority)
        carrier = asyncio.create_task(self._batch(priority), name=f"{priority} pictures")
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)

    async def _batch(self, priority: str) -> None:
        queue = self._queues[priority]
        await asyncio.sleep(self.wait_s)
        async with self.slots.taken(priority, min((one.age for one in queue), default=0.0)):
            self._waiting_for_slot.discard(priority)
            batch = self._take(queue)
            self._carry(priority)  # what is left
            if batch:
                await self._turn(batch)

    async def _turn(self, batch: list[Waiting]) -> None:
        outcome: dict[str, Any] = {"infra_error": WorkerLost("the pictures' engine ended without a word").to_wire()}
        try:
            await self.runner.turn_images([one.work for one in batch], self._teller(batch))
        except InfraError as error:
            outcome = {"infra_error": error.to_wire()}
        except Exception as error:  # noqa: BLE001 - whoever drives the jobs raises it
            outcome = {"bug": error}
        finally:
            for one in batch:
                if not one.outcome.done():
                    one.outcome.set_result(outcome)

    def _take(self, queue: list[Waiting]) -> list[Waiting]:
        """The oldest, and so many that all slots get as much."""
        count = min(self.most, max(1, math.ceil(len(queue) / self.slots.capacity)))
        queue.sort(key=lambda one: one.age)
        batch, queue[:] = queue[:count], queue[count:]
        return batch

    @staticmethod
    def _teller(batch: list[Waiting]) -> Told:
        futures = {one.work.job_id: one.outcome for one in batch}

        def tell(job_id: str, outcome: dict[str, Any]) -> None:
            future = futures.get(job_id)
            if future is not None and not future.done():
                future.set_result(outcome)

        return tell
