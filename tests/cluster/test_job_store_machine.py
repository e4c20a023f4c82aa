"""Any order of calls: the store does what a few lines of Python say it should."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete

from cluster.errors import FenceLost, IllegalMove
from cluster.jobs import Ending, JobStatus, Renewal, SqlStore
from cluster.jobs.tables import jobs
from tests.support.jobs import claim, create, new_job

JOBS = st.integers(0, 3)
STALE = st.integers(0, 2)  # how many leases ago the caller had the job
ERRORS = st.sampled_from([None, {"code": "a", "message": "b"}])
ENDINGS = st.sampled_from(["ready", "failed", "cancelled"])


@dataclass
class Expected:
    """What the machine believes about one job."""

    id: str
    status: str = "queued"
    fence: int = 0
    attempts: int = 0
    cancel_requested: bool = False
    error: dict[str, str] | None = None
    expired: bool = False
    owed: int = 0

    def holds(self, fence: int) -> bool:
        return self.status == "processing" and fence == self.fence


def machine(store: SqlStore) -> type[RuleBasedStateMachine]:
    """The machine on an open, migrated store."""

    class Calls(RuleBasedStateMachine):
        @initialize()
        def empty(self) -> None:
            with store._db.write() as connection:
                connection.execute(delete(jobs))
            self.jobs: list[Expected] = []
            self.delivered = 0

        def pick(self, number: int) -> Expected:
            while number >= len(self.jobs):
                job, _ = create(store, new_job(media_id=str(len(self.jobs)), callback_url="https://a.example/"))
                self.jobs.append(Expected(job.id))
            return self.jobs[number]

        def end(self, job: Expected, status: str) -> None:
            job.status, job.expired, job.error = status, False, None
            job.owed += 1

        @rule(number=JOBS)
        def create(self, number: int) -> None:
            self.pick(number)

        @rule(limit=st.integers(1, 3))
        def claim(self, limit: int) -> None:
            wanted = []
            due = [job for job in self.jobs if job.status == "queued" or (job.status == "processing" and job.expired)]
            for job in due[:limit]:
                if job.cancel_requested:
                    self.end(job, "cancelled")
                    continue
                job.status, job.expired = "processing", False
                job.fence += 1
                job.attempts += 1
                wanted.append((job.id, job.fence, job.attempts))
            assert [(job.id, job.fence, job.attempts) for job in claim(store, "me", 600, limit)] == wanted

        @rule(number=JOBS)
        def lease_runs_out(self, number: int) -> None:
            job = self.pick(number)
            if job.status == "processing":
                store.renew_all([Renewal(job.id, job.fence, None)], -1)
                job.expired = True

        @rule(number=JOBS, stale=STALE)
        def renew(self, number: int, stale: int) -> None:
            job = self.pick(number)
            fence = job.fence - stale
            lost = store.renew_all([Renewal(job.id, fence, None)], 600)
            assert lost == (set() if job.holds(fence) else {job.id})
            job.expired &= bool(lost)

        @rule(number=JOBS, stale=STALE, error=ERRORS)
        def release(self, number: int, stale: int, error: dict[str, str] | None) -> None:
            job = self.pick(number)
            if not job.holds(job.fence - stale):
                with pytest.raises(FenceLost):
                    store.release(job.id, job.fence - stale)
                return
            store.release(job.id, job.fence, error=error)
            if job.cancel_requested:
                self.end(job, "cancelled")
            else:
                job.status, job.expired, job.error = "queued", False, error or job.error
                job.attempts -= error is None  # nothing went wrong

        @rule(number=JOBS, stale=STALE, ending=ENDINGS)
        def finish(self, number: int, stale: int, ending: str) -> None:
            job = self.pick(number)
            fence = job.fence - stale
            lost = store.finish_all([Ending(job.id, fence, JobStatus(ending))])
            if job.holds(fence):
                assert lost == set()
                self.end(job, ending)
            else:
                is_again = not stale and job.status == ending
                assert lost == (set() if is_again else {(job.id, fence)})

        @rule(number=JOBS)
        def cancel(self, number: int) -> None:
            job = self.pick(number)
            if job.status in ("ready", "failed"):
                with pytest.raises(IllegalMove):
                    store.request_cancel(job.id)
                return
            store.request_cancel(job.id)
            if job.status == "queued":
                self.end(job, "cancelled")
            elif job.status == "processing":
                job.cancel_requested = True

        @rule(number=JOBS)
        def retry(self, number: int) -> None:
            job = self.pick(number)
            if job.status not in ("failed", "cancelled"):
                with pytest.raises(IllegalMove):
                    store.retry(job.id)
                return
            store.retry(job.id)
            job.status, job.attempts, job.cancel_requested, job.error = "queued", 0, False, None

        @rule()
        def deliver(self) -> None:
            due = store.due_deliveries(100, 600)
            for job in self.jobs:
                assert len([one for one in due if one.job_id == job.id]) == job.owed
                job.owed = 0
            for one in due:
                store.delivered(one.id, 204)

        @invariant()
        def the_store_agrees(self) -> None:
            for expected in getattr(self, "jobs", []):
                job = store.get(expected.id)
                assert (job.status.value, job.fence, job.attempts, job.error) == (
                    expected.status,
                    expected.fence,
                    expected.attempts,
                    expected.error,
                )
                leased = job.lease_until is not None, job.lease_owner is not None
                assert leased == (job.status is JobStatus.PROCESSING,) * 2
                assert (job.finished_at is not None) == (job.status.value in ("ready", "failed", "cancelled"))

    return Calls


def test_any_order_of_calls_gives_what_the_table_of_moves_says(store: SqlStore) -> None:
    checks: list[Any] = [HealthCheck.too_slow]
    run_state_machine_as_test(
        machine(store),
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, database=None, suppress_health_check=checks
        ),
    )
