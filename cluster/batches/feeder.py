"""Feeds batches beside the dispatcher, in the same actor: each held by its own lease, each step on a thread.

A step may last longer than a lease, and wait longer for its thread: meanwhile the lease is renewed here, as long as the
step gets on. A lease of this process that ran out all the same is not claimed again by it, which would be a second
step beside the first: its own goes on when nobody else took it, and ends at its next write when somebody did.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cluster.batches.feed import Feed
from cluster.errors import FenceLost, InfraError
from cluster.farm_settings import FarmSettings
from cluster.jobs import Batch, JobStore
from ladders.errors import FarmError

log = logging.getLogger(__name__)

LOOK_S = 1.0  # how soon a new batch is seen
STEP_S = 0.4
AWAY_S = 5.0  # store or storage: leases last a while
BROKEN_S = 60.0  # a bug: others are fed meanwhile, and a newer program may know better
MOST = 256  # batches that are held; each costs a small query every 0.4 s
SILENT_S = 600.0  # without an object, a page of a manifest or a commit: longer than storage is waited for
AT_ONCE = 4  # steps; each may wait long for storage, on a thread of its own


class Feeder:
    """Claims batches and steps each until it has ended."""

    def __init__(
        self,
        store: JobStore,
        settings: FarmSettings,
        capacity: Callable[[], int],
        nudge: Callable[[], None],
        successor_of: str | None = None,
    ) -> None:
        """`capacity` is how many steps the cluster could run now; `nudge` tells the dispatcher of new jobs.

        `successor_of`: a name whose last bearer is known to be dead: this one goes on with what it held.
        """
        self._store = store
        self._settings = settings
        self._capacity = capacity
        self._nudge = nudge
        self._owner = successor_of or f"feeder-{uuid.uuid4().hex[:12]}"
        self._inherits = successor_of is not None
        self._places = asyncio.Semaphore(AT_ONCE)
        self._held: dict[str, tuple[Batch, asyncio.Task[None]]] = {}
        self._steps: dict[str, Feed] = {}  # that run, or wait for a thread
        self._renewed_at = 0.0

    async def run(self) -> None:
        """Work until cancelled; then give every lease back."""
        try:
            while True:
                try:
                    await self._renew()
                    await self._claim()
                except InfraError as error:
                    log.warning("feeder: %s: %s", error.code, error.public_message)
                except Exception:
                    log.exception("batches are not claimed")
                await asyncio.sleep(LOOK_S)
        finally:
            await self._let_go()

    async def _renew(self) -> None:
        """Hold on to what is being stepped; between two steps a lease lasts by itself."""
        lease_s, now = self._settings.work.lease_s, time.monotonic()
        if now - self._renewed_at < lease_s / 4:
            return
        held = [(feed.batch.id, feed.batch.fence) for feed in self._steps.values() if now - feed.moved_at < SILENT_S]
        if held:
            await asyncio.to_thread(self._store.batches.renew, held, lease_s)
        self._renewed_at = now

    async def _claim(self) -> None:
        if self._inherits:
            await asyncio.to_thread(self._store.batches.end_leases, self._owner)
            self._inherits = False
        room = MOST - len(self._held)
        if room <= 0:
            return
        lease_s, held = self._settings.work.lease_s, list(self._held)
        for batch in await asyncio.to_thread(self._store.batches.claim, self._owner, lease_s, room, held):
            task = asyncio.create_task(self._drive(batch), name=f"batch {batch.id}")
            self._held[batch.id] = (batch, task)
            task.add_done_callback(self._forget)

    def _forget(self, ended: asyncio.Task[None]) -> None:
        self._held = {batch_id: held for batch_id, held in self._held.items() if held[1] is not ended}

    async def _drive(self, batch: Batch) -> None:
        """Until the batch has ended, or somebody else has it."""
        feed = Feed(batch, self._store, self._settings)
        while True:
            pause_s = STEP_S
            try:
                feed.move()
                self._steps[batch.id] = feed
                if await self._stepped(feed):
                    return
                self._nudge()
            except FenceLost:
                log.warning("lease of batch %s lost", batch.id)
                return
            except FarmError as error:
                log.warning("batch %s waits: %s: %s", batch.id, error.code, error.public_message)
                pause_s = AWAY_S
            except Exception:
                log.exception("batch %s: a step broke off; again in %.0f s", batch.id, BROKEN_S)
                feed, pause_s = Feed(batch, self._store, self._settings), BROKEN_S
            finally:
                self._steps.pop(batch.id, None)
            await asyncio.sleep(pause_s)

    async def _stepped(self, feed: Feed) -> bool:
        """What a step says, on a thread; one that goes silent, as on a file share that hangs, gives up its place."""
        await self._places.acquire()
        has_place = True
        feed.move()
        pool = ThreadPoolExecutor(1, thread_name_prefix="feed")
        step = asyncio.get_running_loop().run_in_executor(pool, feed.step, self._capacity())
        pool.shutdown(wait=False)
        try:
            while not (await asyncio.wait([step], timeout=LOOK_S))[0]:
                if has_place and time.monotonic() - feed.moved_at > SILENT_S:
                    log.warning("batch %s: a step has been silent for %.0f s", feed.batch.id, SILENT_S)
                    self._places.release()
                    has_place = False
            return step.result()
        finally:
            step.cancel()  # when this feeder ends, nobody waits any more for what it says
            if has_place:
                self._places.release()

    async def _let_go(self) -> None:
        held = list(self._held.values())
        for _, task in held:
            task.cancel()
        await asyncio.gather(*(task for _, task in held), return_exceptions=True)
        for batch, _ in held:
            with contextlib.suppress(InfraError):  # its lease runs out by itself
                await asyncio.to_thread(self._store.batches.release, batch.id, batch.fence)
