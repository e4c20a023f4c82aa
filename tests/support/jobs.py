"""Jobs to put into a store."""

from typing import Any

from sqlalchemy import func, select

from cluster.jobs import JobStatus, NewJob, SqlStore
from cluster.jobs.tables import jobs
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
