"""Between rows of the tables and the values of the model, and the writes that several methods share."""

import base64
import binascii
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, insert, select

from cluster.errors import FenceLost, InvalidCursor, JobMissing
from cluster.jobs.database import Database
from cluster.jobs.model import Job, JobStatus, callback_body, new_id, public_error
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


class Rows:
    """Reads and writes inside a transaction that the caller opened.

    The statements are built once: building one costs SQLAlchemy more than SQLite needs to run it.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._insert_event = insert(job_events).values(at=db.now())
        self._get = select(*JOB).where(jobs.c.id == bindparam("job_id"))
        self._locked = self._get.with_for_update(of=jobs)
        self._change = (
            jobs.update()
            .where(jobs.c.id == bindparam("job_id"), jobs.c.fence == bindparam("old_fence"))
            .returning(*JOB)
        )

        self._standing = (
            select(jobs.c.id, jobs.c.fence, jobs.c.status, jobs.c.attempts, jobs.c.callback_url)
            .where(jobs.c.id.in_(bindparam("job_ids", expanding=True)))
            .order_by(jobs.c.id)  # nobody waits for somebody who waits for him
            .with_for_update()
        )
        self._end = (
            jobs.update()
            .where(jobs.c.id == bindparam("ended_id"))
            .values(finished_at=db.now(), lease_until=None, lease_owner=None)
        )

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
            detail = {"job_id": job.id, "fence": fence, "current_fence": job.fence, "status": job.status.value}
            raise FenceLost("the lease of this job is somebody else's, or was given back", detail=detail)
        return job

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

    def standing(self, connection: Connection, job_ids: Sequence[str]) -> dict[str, Any]:
        """How these jobs stand, by their ids: fence, status, attempts; locked, and without what is large."""
        ids = [job_id for job_id in job_ids if _ID.fullmatch(job_id)]
        return {row.id: row for row in connection.execute(self._standing, {"job_ids": ids})}

    def note(self, connection: Connection, job_id: str, kind: str, data: dict[str, Any]) -> None:
        """Write an event of a job whose row is locked."""
        self.note_all(connection, [(job_id, kind, data)])

    def note_all(self, connection: Connection, told: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """Write events of jobs whose rows are locked: job, kind, data."""
        rows = [{"job_id": job_id, "kind": kind, "data": data} for job_id, kind, data in told]
        if rows:
            connection.execute(self._insert_event, rows)

    def end(self, connection: Connection, job: Job, status: JobStatus, values: Mapping[str, Any]) -> Job:
        """End the locked `job` as `status`, with its event and the callback that it owes; the job as it is now."""
        self.end_all(connection, [(job, status, values)])
        return self.get(connection, job.id)

    def end_all(self, connection: Connection, endings: Sequence[tuple[Any, JobStatus, Mapping[str, Any]]]) -> None:
        """`end` of many; of the jobs only what `standing` says is looked at."""
        groups: dict[frozenset[str], list[dict[str, Any]]] = {}
        for job, status, values in endings:
            # Why it waited before is no part of how it ended.
            row = {"error": None, **values, "status": status.value}
            groups.setdefault(frozenset(row), []).append(row | {"ended_id": job.id})
        for rows in groups.values():
            connection.execute(self._end, rows)
        self.note_all(
            connection,
            [
                (
                    job.id,
                    status.value,
                    # Whoever may see the job may read its events.
                    {"attempt": job.attempts, "error": public_error(values["error"]) if values.get("error") else None},
                )
                for job, status, values in endings
            ],
        )
        for job, status, _ in endings:
            if job.callback_url is not None:
                self._owe(connection, self.get(connection, job.id), status)

    def _owe(self, connection: Connection, ended: Job, status: JobStatus) -> None:
        owed = {
            "id": new_id(),
            "job_id": ended.id,
            "event": f"job.{status.value}",
            "url": ended.callback_url,
            "body": callback_body(ended),
            "attempts": 0,
            "next_at": self._db.now(),
            "created_at": self._db.now(),
        }
        connection.execute(insert(outbox).values(owed))
