"""Leases of jobs: taken, held, given back, and ended with the job. What is done for many is a few statements, not many.

A dispatcher does this for every job, and a batch has a hundred thousand: each method that takes several jobs writes
them in one transaction, with statements that do not get more with the jobs. A statement costs SQLAlchemy 0.3 ms and
SQLite 0.02; a commit waits for the disk.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, select

from cluster.claims import PICTURE_WEIGHT, likely_weight
from cluster.jobs.database import Database
from cluster.jobs.history import note_figures
from cluster.jobs.model import MOVES, Ending, Job, JobStatus, Renewal
from cluster.jobs.rows import JOB, Rows, job_of
from cluster.jobs.tables import jobs
from cluster.policy import PRIORITIES

MOST_FORGIVEN = 50
"""Leases of a job that were counted as no attempt of it, in all its life: ended with their owner, given back, or of a
time before it was retried. Dispatchers are killed for other reasons than a job, but one that kills each of them must
end some day: with so many behind it, a lease that ends with its owner counts."""


class SqlLeases:
    """The part of `JobStore` for whoever holds leases."""

    _db: Database
    _rows: Rows

    def claim(self, owner: str, lease_s: float, limit: int, of: tuple[str, str]) -> list[Job]:
        """See `JobStore.claim`."""
        priority, org = of
        is_due = case(
            (jobs.c.status == JobStatus.QUEUED.value, jobs.c.run_after <= self._db.now()),
            else_=jobs.c.lease_until < self._db.now(),
        )
        due = (
            select(jobs.c.id, jobs.c.kind, jobs.c.source_uri)
            .where(jobs.c.priority == PRIORITIES[priority], jobs.c.org == org, jobs.c.finished_at.is_(None), is_due)
            .order_by(jobs.c.created_at, jobs.c.id)
            .limit(math.ceil(limit / PICTURE_WEIGHT))
            .with_for_update(skip_locked=True, of=jobs)
        )
        with self._db.write() as connection:
            ids = _fitting(connection.execute(due).all(), limit)
            rows = connection.execute(select(*JOB).where(jobs.c.id.in_(ids))) if ids else ()
            by_id = {row.id: job_of(row._mapping) for row in rows}
            found = [by_id[job_id] for job_id in ids]
            # Whose owner died before it could obey.
            unwanted: list[tuple[Any, JobStatus, Mapping[str, Any]]] = [
                (job, JobStatus.CANCELLED, {}) for job in found if job.cancel_requested
            ]
            self._rows.end_all(connection, unwanted)
            return self._lease(connection, [job for job in found if not job.cancel_requested], owner, lease_s)

    def _lease(self, connection: Connection, found: Sequence[Job], owner: str, lease_s: float) -> list[Job]:
        """Give the locked jobs to `owner`; how they are now."""
        if not found:
            return []
        now = self._db.moment(connection)
        until = now + timedelta(seconds=lease_s)
        lease = {
            "status": JobStatus.PROCESSING.value,
            "fence": jobs.c.fence + 1,
            "attempts": jobs.c.attempts + 1,
            "lease_owner": owner,
            "lease_until": until,
            "started_at": now,
        }
        connection.execute(jobs.update().where(jobs.c.id.in_([job.id for job in found])).values(lease))
        told = [
            (job.id, "started", {"attempt": job.attempts + 1, "taken_over": job.status is JobStatus.PROCESSING})
            for job in found
        ]
        self._rows.note_all(connection, told)
        return [
            replace(
                job,
                status=JobStatus.PROCESSING,
                fence=job.fence + 1,
                attempts=job.attempts + 1,
                lease_owner=owner,
                lease_until=until,
                started_at=now,
                taken_over=job.status is JobStatus.PROCESSING,
            )
            for job in found
        ]

    def end_leases(self, owner: str) -> int:
        """See `JobStore.end_leases`."""
        held = (jobs.c.lease_owner == owner, jobs.c.status == JobStatus.PROCESSING.value)
        forgiven = and_(jobs.c.fence - jobs.c.attempts < MOST_FORGIVEN, jobs.c.attempts > 0)
        values = {
            "lease_until": self._db.now(),
            "lease_owner": None,  # the next one of this name may die before it claims the job: it never held it
            "attempts": case((forgiven, jobs.c.attempts - 1), else_=jobs.c.attempts),
        }
        ended = jobs.update().where(*held, jobs.c.finished_at.is_(None)).values(values)
        with self._db.write() as connection:
            return len(connection.execute(ended.returning(jobs.c.id)).all())

    def renew_all(self, renewals: Sequence[Renewal], lease_s: float) -> set[str]:
        """See `JobStore.renew_all`."""
        with self._db.write() as connection:
            now = self._db.moment(connection)
            rows = self._rows.standing(connection, [one.job_id for one in renewals])
            kept = [one for one in renewals if _is_leased(rows.get(one.job_id), one.fence)]
            until = now + timedelta(seconds=lease_s)
            renew = jobs.update().where(jobs.c.id == bindparam("job_id"))
            for with_progress in (False, True):
                values = [
                    {"job_id": one.job_id, "lease_until": until} | ({"progress": one.progress} if with_progress else {})
                    for one in kept
                    if (one.progress is not None) is with_progress
                ]
                if values:
                    connection.execute(renew, values)
        return {one.job_id for one in renewals} - {one.job_id for one in kept}

    def release(self, job_id: str, fence: int, delay_s: float = 0.0, error: dict[str, Any] | None = None) -> None:
        """See `JobStore.release`."""
        with self._db.write() as connection:
            job = self._rows.owned(connection, job_id, fence)
            if job.cancel_requested:
                self._rows.end(connection, job, JobStatus.CANCELLED, {})
                return
            also = {"error": error} if error else {"attempts": max(0, job.attempts - 1)}
            self._rows.queue(connection, job, delay_s, also)
            why = {name: error[name] for name in ("code", "message")} if error else None
            told = {"attempt": job.attempts, "delay_s": delay_s, "error": why}
            self._rows.note(connection, job_id, "released", told)

    def finish_all(self, endings: Sequence[Ending]) -> set[tuple[str, int]]:
        """See `JobStore.finish_all`."""
        with self._db.write() as connection:
            rows = self._rows.standing(connection, [one.job_id for one in endings])
            refused: set[tuple[str, int]] = set()
            written: list[tuple[Any, JobStatus, Mapping[str, Any]]] = []
            did: dict[str, dict[str, Any]] = {}
            for one in endings:
                row: Any = rows.get(one.job_id)
                is_mine = row is not None and row.fence == one.fence and row.status != JobStatus.QUEUED.value
                if is_mine and row.status == one.status.value:
                    continue  # the answer to the first call was lost
                if not is_mine or one.status not in MOVES[JobStatus(row.status)]:
                    refused.add((one.job_id, one.fence))
                    continue
                written.append((row, one.status, one.values()))
                if one.figures is not None:
                    did[one.job_id] = one.figures
            self._rows.end_all(connection, written)
            note_figures(connection, did)
        return refused


def _fitting(due: Sequence[Any], limit: int) -> list[str]:
    """The ids of the first of `due` that together weigh no more than `limit`."""
    weights = itertools.accumulate(likely_weight(row.kind, row.source_uri) for row in due)
    return [row.id for row, weight in zip(due, weights, strict=True) if weight <= limit]


def _is_leased(row: Any, fence: int) -> bool:
    return row is not None and row.fence == fence and row.status == JobStatus.PROCESSING.value
