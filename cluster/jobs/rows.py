"""Between rows of the tables and the values of the model, and the writes that several methods share."""

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, insert, select

from cluster.errors import FenceLost, InvalidCursor, JobMissing
from cluster.jobs.database import Database
from cluster.jobs.model import Job, JobStatus, NewJob, Renewal, callback_body, new_id, public_error
from cluster.jobs.tables import batches, job_events, jobs, outbox
from cluster.policy import PRIORITIES

_ID = re.compile("[0-9a-f-]{36}")
CLASSES = {rank: name for name, rank in PRIORITIES.items()}
_of_batch = select(batches.c.recipe).where(batches.c.id == jobs.c.batch_id).correlate(jobs).scalar_subquery()
# Not by CASE: SQLite 3.40 takes `batch_id IS NULL` for false in the RETURNING of an UPDATE.
_recipe = func.coalesce(_of_batch, jobs.c.recipe)
JOB = tuple(_recipe.label("recipe") if column is jobs.c.recipe else column for column in jobs.c)
"""The columns of a job as `job_of` reads them."""


def job_of(row: Mapping[Any, Any]) -> Job:
    """The job in a row of `jobs`."""
    values = dict(row)
    del values["request_hash"]
    values["status"] = JobStatus(values["status"])
    values["priority"] = CLASSES[values["priority"]]
    return Job(**values)


def cursor_of(row_id: str) -> str:
    """The cursor behind the row of that id."""
    return base64.urlsafe_b64encode(uuid.UUID(row_id).bytes).decode().rstrip("=")


def id_at(cursor: str) -> str:
    """The id that `cursor_of` was given; InvalidCursor."""
    try:
        return str(uuid.UUID(bytes=base64.urlsafe_b64decode(f"{cursor}==".encode("ascii"))))
    except (binascii.Error, ValueError):
        raise InvalidCursor("the cursor is not one that this listing gave") from None


def fence_lost(job: Job, fence: int) -> FenceLost:
    """The error of a write with a fence that is not the job's any more."""
    detail = {"job_id": job.id, "fence": fence, "current_fence": job.fence, "status": job.status.value}
    return FenceLost("the lease of this job is somebody else's, or was given back", detail=detail)


class Rows:
    """Reads and writes inside a transaction that the caller opened.

    The statements are built once: building one costs SQLAlchemy more than SQLite needs to run it.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._insert_job = (
            db.insert(jobs)
            .values(run_after=db.now(), created_at=db.now())
            .on_conflict_do_nothing(index_elements=[jobs.c.org, jobs.c.idem_key])
            # psycopg counts the rows of such an INSERT as -1: what comes back tells whether there is a row.
            .returning(jobs.c.run_after, jobs.c.created_at)
        )
        self._insert_event = insert(job_events).values(at=db.now())
        self._get = select(*JOB).where(jobs.c.id == bindparam("job_id"))
        self._locked = self._get.with_for_update(of=jobs)
        self._change = (
            jobs.update()
            .where(jobs.c.id == bindparam("job_id"), jobs.c.fence == bindparam("old_fence"))
            .returning(*JOB)
        )

    def add(self, connection: Connection, new: NewJob, idem_key: str | None, request_hash: str) -> Job | None:
        """Insert the job; None when the org's key is taken."""
        row = {name: getattr(new, name) for name in new.__dataclass_fields__} | {
            "id": new_id(),
            "priority": PRIORITIES[new.priority],
            "idem_key": idem_key,
            "request_hash": request_hash,
            "status": JobStatus.QUEUED.value,
            "fence": 0,
            "attempts": 0,
            "cancel_requested": False,
            "progress": {},
        }
        times = connection.execute(self._insert_job, row).one_or_none()
        if times is None:
            return None
        return job_of(dict.fromkeys(jobs.c.keys()) | row | dict(times._mapping))

    def locked(self, connection: Connection, job_id: str) -> Job:
        """The job, which nobody else can change until the transaction ends; JobMissing.

        Also what keeps a job's events in order: whoever writes one holds this lock, so `seq` grows as commits do.
        """
        return self._one(connection, self._locked, job_id)

    def get(self, connection: Connection, job_id: str) -> Job:
        """The job; JobMissing."""
        return self._one(connection, self._get, job_id)

    def _one(self, connection: Connection, query: Select[Any], job_id: str) -> Job:
        # What cannot be an id is not sent: it may be longer than a packet, or no text that a database takes.
        row = connection.execute(query, {"job_id": job_id}).one_or_none() if _ID.fullmatch(job_id) else None
        if row is None:
            raise JobMissing("there is no such job", detail={"job_id": ascii(job_id)[:100]})
        return job_of(row._mapping)

    def owned(self, connection: Connection, job_id: str, fence: int) -> Job:
        """`locked`, when `fence` is that of its running lease; FenceLost otherwise."""
        job = self.locked(connection, job_id)
        if job.fence != fence or job.status is not JobStatus.PROCESSING:
            raise fence_lost(job, fence)
        return job

    def renew(self, connection: Connection, one: Renewal, lease_s: float) -> bool:
        """Hold a lease for longer; False when it is not the job's any more."""
        values: dict[str, Any] = {"lease_until": self._db.now(lease_s)}
        if one.progress is not None:
            values["progress"] = one.progress
        mine = (jobs.c.id == one.job_id, jobs.c.fence == one.fence, jobs.c.status == JobStatus.PROCESSING.value)
        renewed = connection.execute(jobs.update().where(*mine).values(values).returning(jobs.c.id))
        return renewed.one_or_none() is not None

    def change(self, connection: Connection, job: Job, values: Mapping[str, Any]) -> Job:
        """Write `values` to the locked `job`; the job as it is now."""
        statement = self._change.values(**values)
        row = connection.execute(statement, {"job_id": job.id, "old_fence": job.fence}).one()
        return job_of(row._mapping)

    def queue(self, connection: Connection, job: Job, delay_s: float, also: Mapping[str, Any]) -> Job:
        """Put the locked `job` back into the queue, due in `delay_s`."""
        waiting = {"status": JobStatus.QUEUED.value, "run_after": self._db.now(delay_s)}
        return self.change(connection, job, {**waiting, "lease_until": None, "lease_owner": None, **also})

    def requeue(self, connection: Connection, job: Job) -> Job:
        """Queue the locked `job`, which has ended, as if it were new."""
        anew = {"attempts": 0, "cancel_requested": False, "progress": {}, "error": None}
        self.note(connection, job.id, "retried", {"was": job.status.value})
        return self.queue(connection, job, 0.0, {**anew, "started_at": None, "finished_at": None})

    def note(self, connection: Connection, job_id: str, kind: str, data: dict[str, Any]) -> None:
        """Write an event of a job whose row is locked."""
        connection.execute(self._insert_event, {"job_id": job_id, "kind": kind, "data": data})

    def end(self, connection: Connection, job: Job, status: JobStatus, values: Mapping[str, Any]) -> Job:
        """End the locked `job` as `status`, with its event and the callback that it owes."""
        over = {"status": status.value, "finished_at": self._db.now(), "lease_until": None, "lease_owner": None}
        # Why it waited before is no part of how it ended.
        ended = self.change(connection, job, {"error": None, **values, **over})
        error = ended.error and public_error(ended.error)  # whoever may see the job may read its events
        self.note(connection, job.id, status.value, {"attempt": job.attempts, "error": error})
        if ended.callback_url is not None:
            owed = {
                "id": new_id(),
                "job_id": job.id,
                "event": f"job.{status.value}",
                "url": ended.callback_url,
                "body": callback_body(ended),
                "attempts": 0,
                "next_at": self._db.now(),
                "created_at": self._db.now(),
            }
            connection.execute(insert(outbox).values(owed))
        return ended
