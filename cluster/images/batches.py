"""Pictures wait a moment for one another, then go to an engine together.

Not batched by Serve: the job's lease decides who turns a picture, so only what holds the lease may hand it on.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cluster.errors import InfraError, WorkerLost
from cluster.needs import PICTURES, Need
from cluster.shares import Account
from cluster.slots import Slots, Turn
from cluster.work import Work
from pipelines.errors import MediaError

Told = Callable[[str, dict[str, Any]], None]


class ImageRunner(Protocol):
    """Turns batches of pictures somewhere."""

    async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
        """Turn them all, on `node` if that is ready; `tell` is called for each at once, see `cluster.images.picture`.

        On `node` alone where a `Work` may take what it needs: nowhere else is that set aside.
        """
        ...

    async def cancel_image(self, job_id: str) -> None:
        """End what is done for that job."""
        ...


@dataclass(slots=True, eq=False)
class Waiting:
    """A picture whose batch is not done yet."""

    work: Work
    turn: Turn
    outcome: asyncio.Future[dict[str, Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(slots=True)
class ImageBatches:
    """A batch holds pictures of one org and class, and takes one slot, as a chunk of a video does.

    What waits when its slot comes is one batch: an idle farm waits `wait_s` at most, a busy one makes larger ones.
    Nobody has looked at a picture by then: one whose header says that it needs more memory than a batch is given comes
    back untouched, and goes by itself where there is room for it.
    """

    runner: ImageRunner
    slots: Slots
    wait_s: float  # how long the first picture waits for others
    most: int  # pictures of one batch
    _waiting: list[Waiting] = field(default_factory=list)
    _large: list[Waiting] = field(default_factory=list)
    _carriers: set[asyncio.Task[None]] = field(default_factory=set)
    _waiting_for_slot: set[Account] = field(default_factory=set)

    async def turned(self, work: Work, turn: Turn) -> dict[str, Any]:
        """What was made of the picture: revision, manifest key, report. Raises MediaError or InfraError."""
        waiting = Waiting(replace(work, memory_bytes=PICTURES.memory_bytes), turn)
        self._waiting.append(waiting)
        self._carry(turn.account)
        outcome = await self._outcome(waiting, self._waiting)
        if "needs_bytes" in outcome:
            waiting = Waiting(work, turn)
            self._large.append(waiting)
            carrier = self._begin(self._alone(waiting, Need(outcome["needs_bytes"])), f"a large picture of {turn.org}")
            outcome = await self._outcome(waiting, self._large, carrier)
        if "media_error" in outcome:
            raise MediaError.from_wire(outcome["media_error"])
        if "infra_error" in outcome:
            raise InfraError.from_wire(outcome["infra_error"])
        if "bug" in outcome:
            raise outcome["bug"]
        return dict(outcome["result"])

    async def _outcome(
        self, waiting: Waiting, queue: list[Waiting], carrier: asyncio.Task[None] | None = None
    ) -> dict[str, Any]:
        """What became of it; when cancelled, it leaves the queue with the `carrier` that is its own, or is ended."""
        try:
            return await waiting.outcome
        except asyncio.CancelledError:
            if waiting in queue:
                queue.remove(waiting)
                if carrier is not None:  # or a node would be emptied for nobody
                    carrier.cancel()
            else:
                await asyncio.shield(self.runner.cancel_image(waiting.work.job_id))
            raise

    def regroup(self) -> None:
        """Somebody's class was changed: pictures that wait may belong to another batch."""
        for account in {one.turn.account for one in self._waiting}:
            self._carry(account)

    def _carry(self, account: Account) -> None:
        """Have somebody wait for a slot for what waits of that account, unless somebody does."""
        if account in self._waiting_for_slot or not self._of(account):
            return
        self._waiting_for_slot.add(account)
        self._begin(self._batch(account), f"{account[0]} pictures of {account[1]}")

    def _begin(self, carrying: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        carrier = asyncio.create_task(carrying, name=name)
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)
        return carrier

    async def _batch(self, account: Account) -> None:
        priority, org = account
        await asyncio.sleep(self.wait_s)
        turn = Turn("pictures", org, priority, min((one.turn.age for one in self._of(account)), default=0.0))
        try:
            async with self.slots.taken(turn, "image", PICTURES) as place:
                self._waiting_for_slot.discard(account)
                batch = self._take(account)
                self._carry(account)  # what is left
                if batch:
                    await self._turn(batch, place.node)
        except InfraError as error:  # there is no slot to be had
            self._waiting_for_slot.discard(account)
            self._tell_all(self._of(account), {"infra_error": error.to_wire()})
            self._waiting = [one for one in self._waiting if not one.outcome.done()]

    async def _alone(self, waiting: Waiting, need: Need) -> None:
        try:
            async with self.slots.taken(waiting.turn, "image", need) as place:
                self._large.remove(waiting)
                await self._turn([waiting], place.node)
        except InfraError as error:  # there is no slot to be had
            self._large.remove(waiting)
            self._tell_all([waiting], {"infra_error": error.to_wire()})

    async def _turn(self, batch: list[Waiting], node: str) -> None:
        outcome: dict[str, Any] = {"infra_error": WorkerLost("the pictures' engine ended without a word").to_wire()}
        try:
            await self.runner.turn_images([one.work for one in batch], node, self._teller(batch))
        except InfraError as error:
            outcome = {"infra_error": error.to_wire()}
        except Exception as error:  # noqa: BLE001 - whoever drives the jobs raises it
            outcome = {"bug": error}
        finally:
            for one in batch:
                one.turn.homes.add(node)
            self._tell_all(batch, outcome)

    def _of(self, account: Account) -> list[Waiting]:
        return [one for one in self._waiting if one.turn.account == account]

    def _take(self, account: Account) -> list[Waiting]:
        """The oldest, and so many that all slots get as much."""
        mine = sorted(self._of(account), key=lambda one: one.turn.age)
        batch = mine[: min(self.most, max(1, math.ceil(len(mine) / max(1, self.slots.capacity))))]
        for one in batch:
            self._waiting.remove(one)
        return batch

    @staticmethod
    def _tell_all(batch: list[Waiting], outcome: dict[str, Any]) -> None:
        for one in batch:
            if not one.outcome.done():
                one.outcome.set_result(outcome)

    @staticmethod
    def _teller(batch: list[Waiting]) -> Told:
        futures = {one.work.job_id: one.outcome for one in batch}

        def tell(job_id: str, outcome: dict[str, Any]) -> None:
            future = futures.get(job_id)
            if future is not None and not future.done():
                future.set_result(outcome)

        return tell
