"""Between rows of the tables and the values of the model, and the writes that several methods share."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from cluster.errors import FenceLost, JobMissing
from cluster.jobs.database import Database
from cluster.jobs.model import Job, JobStatus, NewJob, callback_body, new_id
from cluster.jobs.tables import job_events, jobs, outbox
from cluster.slots import PRIORITIES

_NAMES = {rank: name for name, rank in PRIORITIES.items()}


def job_of(row: Row[Any]) -> Job:
    """The job in a row of `jobs`."""
    values: dict[str, Any] = dict(row._mapping)
    del values["request_hash"]
    values["status"] = JobStatus(values["status"])
    values["priority"] = _NAMES[values["priority"]]
    return Job(**values)


def new_row(new: NewJob, idem_key: str | None, now: Any) -> dict[str, Any]:
    """The row of a job that was just accepted."""
    asked = {name: getattr(new, name) for name in new.__dataclass_fields__}
    return asked | {
        "id": new_id(),
        "priority": PRIORITIES[new.priority],
        "idem_key": idem_key,
        "request_hash": new.request_hash(),
        "status": JobStatus.QUEUED.value,
        "run_after": now,
        "fence": 0,
        "attempts": 0,
        "cancel_requested": False,
        "progress": {},
        "created_at": now,
    }


def locked_job(connection: Connection, job_id: str) -> Job:
    """The job, which nobody else can change until the transaction ends; JobMissing.

    Also what keeps a job's events in order: whoever writes one holds this lock, so `seq` grows as commits do.
    """
    row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).one_or_none()
    if row is None:
        raise JobMissing("there is no such job", detail={"job_id": job_id[:100]})
    return job_of(row)


def owned_job(connection: Connection, job_id: str, fence: int) -> Job:
    """`locked_job`, when `fence` is that of its running lease; FenceLost otherwise."""
    job = locked_job(connection, job_id)
    if job.fence != fence or job.status is not JobStatus.PROCESSING:
        raise fence_lost(job, fence)
    return job


def fence_lost(job: Job, fence: int) -> FenceLost:
    """The error of a write with a fence that is not the job's any more."""
    detail = {"job_id": job.id, "fence": fence, "current_fence": job.fence, "status": job.status.value}
    return FenceLost("the lease of this job is somebody else's, or was given back", detail=detail)


def change(connection: Connection, job: Job, values: Mapping[str, Any]) -> Job:
    """Write `values` to the locked `job`; the job as it is now."""
    statement = jobs.update().where(jobs.c.id == job.id, jobs.c.fence == job.fence).values(**values)
    return job_of(connection.execute(statement.returning(jobs)).one())


def note(connection: Connection, db: Database, job_id: str, kind: str, data: dict[str, Any]) -> int:
    """Write an event of a job whose row is locked; its seq."""
    values = {"job_id": job_id, "at": db.now(), "kind": kind, "data": data}
    return int(connection.execute(insert(job_events).values(values).returning(job_events.c.seq)).scalar_one())


def end(connection: Connection, db: Database, job: Job, status: JobStatus, values: Mapping[str, Any]) -> Job:
    """End the locked `job` as `status`, with its event and the callback that it owes."""
    ended = change(
        connection,
        job,
        {**values, "status": status.value, "finished_at": db.now(), "lease_until": None, "lease_owner": None},
    )
    note(connection, db, job.id, status.value, {"attempt": job.attempts, "error": ended.error})
    if ended.callback_url is not None:
        owed = {
            "id": new_id(),
            "job_id": job.id,
            "event": f"job.{status.value}",
            "url": ended.callback_url,
            "body": callback_body(ended),
            "attempts": 0,
            "next_at": db.now(),
            "created_at": db.now(),
        }
        connection.execute(insert(outbox).values(owed))
    return ended
