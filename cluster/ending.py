"""How jobs ended, and writing that down while the job store may be away."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from cluster.costs import cost_of, prices_of
from cluster.errors import FenceLost, InfraError, StoreFull, StoreUnavailable
from cluster.job import JobRun
from cluster.jobs import Ending, JobStore

log = logging.getLogger(__name__)

MOST_APART_S = 5.0  # of tries, a second apart at first: the store may be restarting
LINGER_S = 0.05  # a batch's pictures end every few milliseconds: a commit for five of them, not for each
MOST_TOGETHER = 256  # of one transaction


def ready(run: JobRun, published: dict[str, Any]) -> dict[str, Any]:
    """The end of a job whose `run` has `published` what it was to make: what its `Ending` says.

    What it cost is in the job's report, and not in the published one, which anybody may read.
    """
    report = published["report"] | {"steps_s": run.steps_s}
    figures = published.get("figures")  # a worker of an earlier version has none
    if figures is not None:
        report["cost"] = cost_of(figures, prices_of(run.work.recipe))
    return {
        "status": "ready",
        "manifest_key": published["manifest_key"],
        "revision": published["revision"],
        "report": report,
        "figures": figures,
        "is_picture": run.is_picture,
        "progress": run.progress.snapshot(),
    }


@dataclass(slots=True, eq=False)
class _Unsaved:
    ending: Ending
    saved: asyncio.Future[None]


@dataclass(slots=True)
class Endings:
    """Writes what waits for it in one transaction; meanwhile more comes, so a busy farm commits for many at once.

    An end that somebody may wait for is written at once, and takes along what lingers.
    """

    store: JobStore
    _waiting: list[_Unsaved] = field(default_factory=list)
    _is_writing: bool = False
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def save(self, ending: Ending, *, lingers: bool = False) -> None:
        """Write a job's end (`JobStore.finish_all`), which may wait a moment for others if it `lingers`.

        For as long as the store is away: its lease is renewed meanwhile, or somebody else has the job when the store is
        back, which is FenceLost.
        """
        one = _Unsaved(ending, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        if not lingers:
            self._hurry.set()
        if not self._is_writing:
            self._is_writing = True
            self._begin(self._write_all())
        await one.saved

    def close(self) -> None:
        """Try no further."""
        for task in self._tasks:
            task.cancel()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="endings")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), LINGER_S)
                self._hurry.clear()
                some, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                await self._write(some)
        finally:
            self._is_writing = False

    async def _write(self, some: list[_Unsaved]) -> None:
        """Have each told how it went."""
        lost: set[tuple[str, int]] = set()
        for attempt in itertools.count():
            some = [one for one in some if not one.saved.done()]  # whoever waited may have been cancelled
            if not some:
                return
            try:
                lost = await asyncio.to_thread(self.store.finish_all, [one.ending for one in some])
                break
            except Exception as error:  # noqa: BLE001 - raised by whoever waits for it
                if len(some) > 1 and not isinstance(error, StoreUnavailable | StoreFull):
                    for one in some:  # whoever fails takes nobody along
                        self._begin(self._write([one]))
                    return
                if not isinstance(error, InfraError):
                    some[0].saved.set_exception(error)
                    return
                log.warning("ends of %d jobs could not be saved yet: %s", len(some), error.public_message)
                await asyncio.sleep(min(1.0 + attempt, MOST_APART_S))
        for one in some:
            if one.saved.done():
                continue
            if (one.ending.job_id, one.ending.fence) in lost:
                one.saved.set_exception(FenceLost("the lease of this job is somebody else's, or was given back"))
            else:
                one.saved.set_result(None)
