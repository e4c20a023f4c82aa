"""The dispatcher: takes jobs out of the store and drives each through its steps.

A plain class with its runner handed in; `cluster.runtime` wraps it into one detached Ray actor. It keeps nothing that
is not in the store or in storage: killed at any moment, its successor claims the jobs whose leases ran out and finds
their finished steps under their names. Every write carries the fence of its lease, so a dispatcher that was thought
dead changes nothing.
"""

import asyncio
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

from cluster.errors import FenceLost, InfraError, WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.held import Held, work_of
from cluster.images.batches import ImageBatches
from cluster.job import JobRun, Runner, may_pass
from cluster.jobs import Job, JobStatus, JobStore
from cluster.progress import JobProgress
from cluster.slots import PRIORITIES, Slots
from cluster.sweep import sweep_now_and_then
from cluster.tools import Tools
from cluster.work import Step
from ladders.errors import FarmError
from pipelines.errors import MediaError

log = logging.getLogger(__name__)

TICK_S = 0.4  # a cancel must stop media processes within 2 s: seen within one tick, acted on at once
NUDGES_S = 0.05  # a hundred uploads a second are twenty looks, not a hundred that fight them for the store
PROGRESS_S = 1.0  # how often a running job's progress is written
# The autoscaler counts what is submitted, and that is never more than there are slots: it is told what waits.
DEMAND_EVERY_S = 10.0
MAX_DEMAND = 512  # steps: a queue of a hundred thousand jobs is no reason to ask for more nodes than anybody allows
# A job that failed because of the farm's surroundings is queued again: twelve attempts are about an hour and a half.
MAX_ATTEMPTS = 12
FIRST_DELAY_S = 5.0
MAX_DELAY_S = 600.0
SAVE_TRIES = 6  # of an ending, a second apart and growing: the store may be restarting


class Dispatcher:
    """Claims, drives, renews, ends."""

    def __init__(
        self,
        store: JobStore,
        runner: Runner,
        slots: Slots,
        settings: FarmSettings,
        capacity: Callable[[], int],
        ask_for: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`capacity` is how many steps the cluster could run now, `ask_for` is told how many there are to run."""
        self._store = store
        self._runner = runner
        self._slots = slots
        self._settings = settings
        self._capacity = capacity
        self._ask_for = ask_for
        self._images = ImageBatches(runner, slots, settings.work.image_wait_s, settings.work.image_batch)
        self._owner = f"dispatcher-{uuid.uuid4().hex[:12]}"
        self._held: dict[str, Held] = {}
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        """Look for new jobs now instead of at the next tick."""
        self._nudged.set()

    @property
    def held(self) -> int:
        """How many jobs are being driven."""
        return len(self._held)

    async def run(self) -> None:
        """Work until cancelled; then give every lease back, so that the next owner need not wait for it to end."""
        sweeping = asyncio.create_task(sweep_now_and_then(self._settings, self._store))
        asking = asyncio.create_task(self._ask_now_and_then())
        try:
            while True:
                try:
                    await self._tick()
                except InfraError as error:  # the store is away: running steps go on, leases last a while
                    log.warning("dispatcher: %s: %s", error.code, error.public_message)
                await self._pause()
        finally:
            sweeping.cancel()
            asking.cancel()
            await self._let_go()

    async def _ask_now_and_then(self) -> None:
        while True:
            try:
                queued = (await asyncio.to_thread(self._store.counts))[JobStatus.QUEUED]
                await asyncio.to_thread(self._ask_for, min(MAX_DEMAND, self._slots.demand + queued))
            except InfraError as error:  # what was asked for last stands
                log.warning("the cluster is not resized: %s: %s", error.code, error.public_message)
            await asyncio.sleep(DEMAND_EVERY_S)

    async def _pause(self) -> None:
        """Until the next tick is due or somebody nudges; a nudge soon after the last look waits a little for others."""
        since = time.monotonic()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._nudged.wait(), TICK_S)
        await asyncio.sleep(NUDGES_S - (time.monotonic() - since))
        self._nudged.clear()

    async def _tick(self) -> None:
        self._slots.resize(max(1, self._capacity()))
        await self._cancel_wanted()
        await self._renew()
        await self._claim()

    async def _claim(self) -> None:
        """Enough jobs to fill every slot even if each has but one chunk; more would only hold leases.

        Each class has that room for itself and those above it: held bulk jobs keep no upload waiting.
        """
        for worst, rank in PRIORITIES.items():
            as_urgent = sum(held.weight for held in self._held.values() if PRIORITIES[held.job.priority] <= rank)
            room = int(self._slots.capacity + 2 - as_urgent)
            if room > 0:
                lease_s = self._settings.work.lease_s
                found = await asyncio.to_thread(self._store.claim, self._owner, lease_s, room, worst)
                for job in found:
                    self._hold(job)
                if len(found) == room:  # pictures leave room for more of them
                    self.nudge()

    def _hold(self, job: Job) -> None:
        # The same job may still be held: cancelled and at once retried, it is claimed while its last run is swept.
        before = self._held.get(job.id)
        held = Held(job, asyncio.create_task(self._drive(job, before), name=f"job {job.id}"))
        self._held[job.id] = held

        def done(_: object) -> None:
            if self._held.get(job.id) is held:
                del self._held[job.id]
            if held.weight < 1:  # pictures end within the pause between two looks: the next ones are due now
                self.nudge()

        held.task.add_done_callback(done)

    async def _cancel_wanted(self) -> None:
        if not self._held:
            return
        for job_id in await asyncio.to_thread(self._store.cancel_wanted, list(self._held)):
            held = self._held.get(job_id)
            if held is not None and not held.cancel_wanted:
                held.cancel_wanted = True
                held.task.cancel()

    async def _renew(self) -> None:
        now = time.monotonic()
        for held in list(self._held.values()):
            due = PROGRESS_S if held.changed else self._settings.work.lease_s / 4
            if now - held.renewed < due or held.ended:
                continue
            held.renewed, held.changed = now, False
            snapshot = held.progress.snapshot() if held.progress else None
            try:
                await asyncio.to_thread(
                    self._store.renew, held.job.id, held.job.fence, self._settings.work.lease_s, snapshot
                )
            except FenceLost:  # somebody else has the job: stop working on it, write nothing
                log.warning("lease of job %s lost", held.job.id)
                held.task.cancel()

    async def _drive(self, job: Job, before: Held | None) -> None:
        """One job from lease to its end."""
        if before is not None:
            await asyncio.wait([before.task])
        try:
            ending = await self._attempt(job)
        except asyncio.CancelledError:
            held = self._held.get(job.id)
            if held is None or not held.cancel_wanted:
                raise  # shutting down, or the lease is lost: not this owner's to end
            ending = {"status": "cancelled"}
        except FarmError as error:
            if may_pass(error) and job.attempts < MAX_ATTEMPTS:
                await self._give_back(job, error)
                return
            ending = {"status": "failed", "error": error.to_wire()}
        is_picture = ending.pop("is_picture", False)
        if await self._save(job, ending) and ending["status"] != "failed" and not is_picture:
            # Only who ended the job may sweep: the chunks of one that somebody else drives now are that one's.
            await asyncio.to_thread(self._sweep, job)

    async def _give_back(self, job: Job, error: FarmError) -> None:
        delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**job.attempts) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        log.warning("job %s: %s: again in %.0f s: %s", job.id, error.code, delay_s, error.public_message)
        self._mark_ended(job)
        with contextlib.suppress(InfraError):  # its lease runs out by itself
            await asyncio.to_thread(self._store.release, job.id, job.fence, delay_s, error.to_wire())

    def _mark_ended(self, job: Job) -> None:
        held = self._held.get(job.id)
        if held is not None and held.job.fence == job.fence:
            held.ended = True

    def _run_of(self, job: Job) -> JobRun:
        """The run of the job's steps; who holds the job hears of its progress."""

        def changed(progress: JobProgress) -> None:
            held = self._held.get(job.id)
            if held is not None:
                held.progress, held.changed = progress, True
                if held.weight < 1:  # a picture, as is known now: others may come along
                    self.nudge()

        def retried(step: Step, error: Exception) -> None:
            code = getattr(error, "code", type(error).__name__)
            log.warning("job %s: %s tried again: %s: %s", job.id, step, code, error)

        run = JobRun(
            work_of(job, self._settings, self._slots.capacity),
            self._runner,
            self._slots,
            self._images,
            priority=job.priority,
            age=job.created_at.timestamp(),
            on_change=changed,
            on_retry=retried,
        )
        if (held := self._held.get(job.id)) is not None:
            held.run = run
        return run

    async def _attempt(self, job: Job) -> dict[str, Any]:
        """Go through the job's steps; how that ended, FarmError when it failed for a reason that is known."""
        run = self._run_of(job)
        try:
            if job.attempts > MAX_ATTEMPTS:  # whoever drove it did not live to say why
                raise WorkerLost(f"the job was given up after {MAX_ATTEMPTS} attempts that ended without a word")
            published = await run.run()
        except FarmError:
            raise
        except Exception:
            error_id = uuid.uuid4().hex[:12]
            log.exception("job %s: unexpected error %s", job.id, error_id)
            message = f"the farm failed in a way nobody foresaw; its log has error {error_id}"
            failure = MediaError(message, detail={"error_id": error_id})
            return {"status": "failed", "error": failure.to_wire() | {"code": "internal_error"}}
        return {
            "status": "ready",
            "manifest_key": published["manifest_key"],
            "revision": published["revision"],
            "report": published["report"] | {"steps_s": run.steps_s},
            "is_picture": run.is_picture,
            "progress": run.progress.snapshot(),
        }

    async def _save(self, job: Job, ending: dict[str, Any]) -> bool:
        """Write the job's end; False when it is not this owner's to write, or the store stays away."""
        self._mark_ended(job)
        for attempt in range(SAVE_TRIES):
            try:
                await asyncio.to_thread(self._store.finish, job.id, job.fence, **ending)
                return True
            except FenceLost:
                log.warning("job %s ended under another lease", job.id)
                return False
            except InfraError as error:
                log.warning("job %s: its end could not be saved yet: %s", job.id, error.public_message)
                await asyncio.sleep(1.0 + attempt)
        return False  # the lease runs out, the job is claimed again, and finds what was done

    def _sweep(self, job: Job) -> None:
        work = work_of(job, self._settings, 1)
        try:
            Tools.open(work, self._settings).sweep(work)
        except InfraError as error:  # what is left is swept by age
            log.warning("job %s: scratch not swept: %s", job.id, error.public_message)

    async def _let_go(self) -> None:
        held = list(self._held.values())
        for one in held:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in held), return_exceptions=True)
        for one in held:
            with contextlib.suppress(InfraError):  # its lease runs out by itself
                await asyncio.to_thread(self._store.release, one.job.id, one.job.fence)
