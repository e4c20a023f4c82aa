"""Ends of jobs are committed together, none waits for long, and one that cannot be stored takes nobody along."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster import ending
from cluster.ending import Endings
from cluster.errors import FenceLost, StoreUnavailable
from cluster.jobs import Ending, Job, JobStatus, SqlStore, open_store
from cluster.settings import DatabaseSettings
from tests.support.jobs import claim, create, new_job

JOBS = 20


class Store(SqlStore):
    """A store that counts its commits, and fails as it is told."""

    def prepare(self) -> None:
        self.commits: list[int] = []
        self.away = 0  # for so many tries
        self.unstorable: set[str] = set()

    def finish_all(self, endings: Sequence[Ending]) -> set[tuple[str, int]]:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("the job store cannot be reached")
        if self.unstorable & {one.job_id for one in endings}:
            raise ValueError("a bug")
        self.commits.append(len(endings))
        return super().finish_all(endings)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = open_store(DatabaseSettings(database_url=f"sqlite:///{tmp_path / 'farm.db'}"))
    opened.upgrade()
    mine = Store(opened._db)
    mine.prepare()
    return mine


def claimed(store: SqlStore) -> list[Job]:
    for number in range(JOBS):
        create(store, new_job(media_id=f"m{number}"))
    return claim(store, "me", 60, JOBS)


def ready(job: Job) -> Ending:
    return Ending(job.id, job.fence, JobStatus.READY)


def statuses(store: SqlStore, jobs: list[Job]) -> set[JobStatus]:
    return {store.get(job.id).status for job in jobs}


async def saved(store: Store, jobs: list[Job], *, lingers: bool) -> list[BaseException | None]:
    endings = Endings(store)
    tasks = (endings.save(ready(job), lingers=lingers) for job in jobs)
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_ends_that_may_linger_share_a_commit(store: Store) -> None:
    jobs = claimed(store)
    assert asyncio.run(saved(store, jobs, lingers=True)) == [None] * JOBS
    assert store.commits == [JOBS]
    assert statuses(store, jobs) == {JobStatus.READY}


def test_an_end_that_somebody_waits_for_is_written_at_once_with_all_that_linger(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "LINGER_S", 60.0)
    first, *others = claimed(store)

    async def all_of_them() -> float:
        endings, began = Endings(store), time.monotonic()
        lingering = [asyncio.create_task(endings.save(ready(job), lingers=True)) for job in others]
        await asyncio.sleep(0.05)
        assert store.commits == []
        await endings.save(ready(first))
        await asyncio.gather(*lingering)
        return time.monotonic() - began

    assert asyncio.run(all_of_them()) < 30
    assert store.commits == [JOBS]


def test_an_end_that_cannot_be_written_takes_no_other_along(store: Store) -> None:
    jobs = claimed(store)
    store.unstorable = {jobs[3].id}
    told = asyncio.run(saved(store, jobs, lingers=True))
    assert isinstance(told.pop(3), ValueError)
    assert told == [None] * (JOBS - 1)
    assert statuses(store, jobs[:3] + jobs[4:]) == {JobStatus.READY}


def test_a_job_that_is_somebody_elses_is_told_alone(store: Store) -> None:
    jobs = claimed(store)
    store.release(jobs[0].id, jobs[0].fence)
    told = asyncio.run(saved(store, jobs, lingers=True))
    assert isinstance(told.pop(0), FenceLost)
    assert told == [None] * (JOBS - 1)


def test_a_job_that_was_lost_and_claimed_again_is_ended_by_its_last_lease_beside_the_end_of_the_lost_one(
    store: Store,
) -> None:
    create(store, new_job())
    (lost,) = claim(store, "me", -1, 1)
    (again,) = claim(store, "me", 60, 1)
    before, after = asyncio.run(saved(store, [lost, again], lingers=True))
    assert (isinstance(before, FenceLost), after) == (True, None)
    assert (store.commits, store.get(again.id).status) == ([2], JobStatus.READY)


def test_ends_wait_for_a_store_that_is_away_however_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    jobs = claimed(store)
    store.away = 100
    assert asyncio.run(saved(store, jobs, lingers=True)) == [None] * JOBS
    assert statuses(store, jobs) == {JobStatus.READY}
    assert (len(slept), max(slept)) == (100, 5.0)


def test_the_end_of_a_cancelled_task_is_not_written(store: Store) -> None:
    jobs = claimed(store)

    async def cancelled() -> None:
        endings = Endings(store)
        given_up = asyncio.create_task(endings.save(ready(jobs[0]), lingers=True))
        kept = asyncio.create_task(endings.save(ready(jobs[1]), lingers=True))
        await asyncio.sleep(0)
        given_up.cancel()
        await kept

    asyncio.run(cancelled())
    assert [store.get(job.id).status for job in jobs[:2]] == [JobStatus.PROCESSING, JobStatus.READY]
