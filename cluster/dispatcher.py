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
from functools import partial
from typing import Any

from cluster.claims import wanted
from cluster.ending import Endings, ready
from cluster.errors import FenceLost, InfraError, WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.held import Held, last_revisions, turn_of, work_of
from cluster.images.batches import ImageBatches
from cluster.job import JobRun, may_pass
from cluster.jobs import Ending, Job, JobStatus, JobStore
from cluster.monitoring.farm import FarmWatch
from cluster.progress import JobProgress
from cluster.shares import Account
from cluster.slots import Slots
from cluster.surroundings import ClusterRunner, ask_for_nodes, follow_nodes, keep_history, obey_policies
from cluster.sweep import in_own_thread, sweep_job, sweep_now_and_then
from cluster.work import Step
from ladders.errors import FarmError
from pipelines.errors import MediaError

log = logging.getLogger(__name__)

TICK_S = 0.4  # a cancel must stop media processes within 2 s: seen within one tick, acted on at once
ENDS_S = 2.0  # what is left to write of jobs that have ended, when the dispatcher stops: the store may be away
NUDGES_S = 0.05  # a hundred uploads a second are twenty looks, not a hundred that fight them for the store
# A job that failed because of the farm's surroundings is queued again: twelve attempts are about an hour and a half.
MAX_ATTEMPTS = 12
FIRST_DELAY_S = 5.0
MAX_DELAY_S = 600.0


class Dispatcher:
    """Claims, drives, renews, ends."""

    def __init__(
        self,
        store: JobStore,
        runner: ClusterRunner,
        settings: FarmSettings,
        ask_for: Callable[[int], None] = lambda _: None,
        watch: FarmWatch | None = None,
        successor_of: str | None = None,
    ) -> None:
        """`ask_for` is told how many lanes would be busy.

        `successor_of`: a name whose last bearer is known to be dead: this one goes on with what it held.
        """
        self._watch = FarmWatch() if watch is None else watch
        self._store = store
        self._runner = runner
        self.slots = Slots()
        self._settings = settings
        self._ask_for = ask_for
        self._images = ImageBatches(runner, self.slots, settings.work.image_wait_s, settings.work.image_batch)
        self._owner = successor_of or f"dispatcher-{uuid.uuid4().hex[:12]}"
        self._inherits = successor_of is not None
        self._held: dict[str, Held] = {}
        self._endings = Endings(store)
        self._wishes_seen = 0.0
        self._room = 0.0  # that jobs have left since the last claim
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
        beside = [
            asyncio.create_task(work)
            for work in (
                sweep_now_and_then(self._settings, self._store, self._watch.swept),
                ask_for_nodes(self._store, self.slots, self._ask_for),
                follow_nodes(self._runner, self.slots, self.nudge),
                obey_policies(self._store, self.slots),
                keep_history(self._store),
            )
        ]
        try:
            while True:
                try:
                    await self._tick()
                except InfraError as error:  # the store is away: running steps go on, leases last a while
                    log.warning("dispatcher: %s: %s", error.code, error.public_message)
                await self._pause()
        finally:
            for task in beside:
                task.cancel()
            await self._let_go()

    async def _pause(self) -> None:
        """Until the next tick is due or somebody nudges; a nudge soon after the last look waits a little for others."""
        since = time.monotonic()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._nudged.wait(), TICK_S)
        await asyncio.sleep(NUDGES_S - (time.monotonic() - since))
        self._nudged.clear()

    async def _tick(self) -> None:
        if self._inherits:
            held = await asyncio.to_thread(self._store.end_leases, self._owner)
            self._inherits = False
            log.info("dispatcher %s goes on with %d jobs of the one that died", self._owner, held)
        await self._grant_wishes()
        await self._renew()
        await self._claim()

    async def _claim(self) -> None:
        self._room = 0.0
        held: dict[Account, float] = {}
        for one in self._held.values():
            held[one.turn.account] = held.get(one.turn.account, 0.0) + one.weight
        waiting = await asyncio.to_thread(self._store.waiting) if self.slots.capacity else ()
        for account, count in wanted(self.slots.policy, self.slots.capacity, held, waiting).items():
            lease = (self._owner, self._settings.work.lease_s)
            found = await asyncio.to_thread(self._store.claim, *lease, count, account)
            earlier = await asyncio.to_thread(last_revisions, found, self._store)
            for job in found:
                self._hold(job, earlier.get(job.id))
            if len(found) >= count:  # pictures that nothing told from videos leave room for more
                self.nudge()

    def _hold(self, job: Job, earlier_manifest_key: str | None) -> None:
        # The same job may still be held: cancelled and at once retried, it is claimed while its last run is swept.
        before = self._held.get(job.id)
        if before is not None and not before.ended:  # its lease ran out unheard of: nothing that it does counts now
            before.task.cancel()
        turn = turn_of(job)
        driving = self._watch.driven(job, partial(self._drive, job, before))
        held = Held(job, turn, asyncio.create_task(driving, name=f"job {job.id}"), earlier_manifest_key)
        self._held[job.id] = held

        def done(_: object) -> None:
            if self._held.get(job.id) is held:
                del self._held[job.id]
            self._room += held.weight
            # Pictures end within the pause between two looks: the next ones are due, but a batch's not one by one.
            if self._room >= 1 or turn.priority != "bulk" or not self._held:
                self.nudge()

        held.task.add_done_callback(done)

    async def _grant_wishes(self) -> None:
        now = time.monotonic()
        if not self._held or now - self._wishes_seen < TICK_S / 2:  # nudges come by the dozen
            return
        self._wishes_seen = now
        for job_id, wish in (await asyncio.to_thread(self._store.wishes, list(self._held))).items():
            if (held := self._held.get(job_id)) is None:
                continue
            if wish.cancel:
                held.cancel()
            if wish.priority != held.turn.priority:
                self.slots.prioritise(held.turn, wish.priority)
                self._images.regroup()

    async def _renew(self) -> None:
        """Leases that are due, all in one write: a thousand jobs must not be a thousand commits."""
        lease_s = self._settings.work.lease_s
        due = [(held, one) for held in self._held.values() if (one := held.due_renewal(lease_s)) is not None]
        if not due:
            return
        began = time.monotonic()
        lost = await asyncio.to_thread(self._store.renew_all, [one for _, one in due], lease_s)
        for held, renewal in due:
            if held.job.id not in lost or held.ended:  # written meanwhile, an end leaves no lease
                held.note_renewal(began, renewal)
            elif self._held.get(held.job.id) is held:
                # Somebody else has the job: stop working on it, write nothing.
                self._watch.lease_lost(held.job)
                held.task.cancel()

    async def _drive(self, job: Job, before: Held | None) -> None:
        """One job from lease to its end."""
        try:
            if before is not None:
                await asyncio.wait([before.task])
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
        self._mark_ended(job)
        try:
            status = JobStatus(ending["status"])
            one = Ending(job.id, job.fence, **(ending | {"status": status}))
            await self._endings.save(one, lingers=job.priority == "bulk")
        except FenceLost:
            self._watch.lease_lost(job)
            return
        self._watch.ended(job, ending)
        # Only who ended the job may sweep: the chunks of one that somebody else drives now are that one's.
        if ending["status"] != "failed" and not is_picture:
            await in_own_thread(partial(sweep_job, work_of(job, self._settings), self._settings))

    async def _give_back(self, job: Job, error: FarmError) -> None:
        delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**job.attempts) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        log.warning("job %s: %s: again in %.0f s: %s", job.id, error.code, delay_s, error.public_message)
        self._mark_ended(job)
        self._watch.given_back(job, error.code)
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
                if held.weight < held.seemed:  # a picture, as is known now: others may come along
                    held.seemed = held.weight
                    self.nudge()

        watch = self._watch.steps(job)

        def retried(step: Step, error: Exception) -> None:
            code = getattr(error, "code", type(error).__name__)
            watch.retried(step, code)
            log.warning("job %s: %s tried again: %s: %s", job.id, step, code, error)

        held = self._held.get(job.id)
        turn = held.turn if held is not None else turn_of(job)
        earlier = held.earlier_manifest_key if held is not None else None
        work = work_of(job, self._settings, earlier_manifest_key=earlier, traceparent=watch.traceparent)
        run = JobRun(
            work, self._runner, self.slots, self._images, turn, on_change=changed, on_retry=retried, watch=watch
        )
        if held is not None:
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
        return ready(run, published)

    async def _let_go(self) -> None:
        held = list(self._held.values())
        for one in held:
            if not one.ended:
                one.task.cancel()
        with contextlib.suppress(TimeoutError):
            ends = (one.task for one in held if one.ended)
            await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), ENDS_S)
        await asyncio.gather(*(one.task for one in held), return_exceptions=True)
        self._endings.close()
        for one in held:
            with contextlib.suppress(InfraError):  # its lease runs out by itself
                await asyncio.to_thread(self._store.release, one.job.id, one.job.fence)
