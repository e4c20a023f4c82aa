"""Jobs to put into a store."""

from typing import Any

from sqlalchemy import func, select

from cluster.errors import StoreError
from cluster.jobs import Ending, Job, JobStatus, JobStore, NewJob, SqlStore
from cluster.jobs.tables import jobs
from cluster.policy import PRIORITIES
from cluster.work import Work


def new_job(**changes: Any) -> NewJob:
    """A job that could be real, with some values changed."""
    values: dict[str, Any] = {
        "org": "acme",
        "media_id": "m1",
        "recipe_name": "standard",
        "recipe": {"name": "standard", "video": {"codec": "h264"}},
        "recipe_digest": "d" * 64,
        "source_uri": "s3://uploads/in/a.mp4",
        "source_etag": "e1",
        "source_bytes": 5_000_000_000,
    }
    return NewJob(**(values | changes))


def create(store: JobStore, new: NewJob, idem_key: str | None = None) -> tuple[Job, bool]:
    """One job, and whether it is new; raises what stands in its place."""
    (made,) = store.create_all([(new, idem_key)])
    if isinstance(made, StoreError):
        raise made
    return made


def claim(store: JobStore, owner: str, lease_s: float, limit: int) -> list[Job]:
    """`limit` jobs, leased as a dispatcher does: of one class after the other, and of each org by itself."""
    leased: list[Job] = []
    for account in sorted(store.waiting(), key=lambda one: (PRIORITIES[one[0]], one[1])):
        if len(leased) < limit:
            leased += store.claim(owner, lease_s, limit - len(leased), account)
    return leased


def ending(job: Job, status: JobStatus | str = JobStatus.READY, **became: Any) -> Ending:
    """How a leased job ended."""
    return Ending(job.id, job.fence, JobStatus(status), **became)


def finish(store: JobStore, job: Job, status: JobStatus | str, **became: Any) -> Job:
    """End a leased job; how it is then."""
    assert store.finish_all([ending(job, status, **became)]) == set(), "it is somebody else's"
    return store.get(job.id)


def counts(store: SqlStore) -> dict[JobStatus, int]:
    """How many jobs stand where; every status is named."""
    with store._db.read() as connection:
        found = connection.execute(select(jobs.c.status, func.count()).group_by(jobs.c.status)).all()
    return dict.fromkeys(JobStatus, 0) | {JobStatus(status): count for status, count in found}


def work_of(**changes: Any) -> Work:
    """What the steps of a job are told, with some values changed."""
    values: dict[str, Any] = {
        "job_id": "j1", "org": "acme", "media_id": "m1", "source_uri": "file:///a.mp4", "source_etag": "e1",
        "recipe": {"name": "standard"}, "recipe_digest": "d1", "kind": "auto", "output_uri": "file:///out",
        "scratch_uri": "file:///scratch", "publish_prefix": None, "slots": 2,
    }  # fmt: skip
    return Work(**(values | changes))
