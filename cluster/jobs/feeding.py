"""What whoever holds a batch's lease writes: items and jobs with the cursor, how items ended, how the batch did.

Every write says the fence of its lease, and moves what belongs together in one transaction: a kill anywhere leaves
each item in the batch once, and the cursor behind the last of them.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, tuple_

from cluster.jobs.batch_model import Batch, BatchStatus, ItemStatus, NewItem, Outcome
from cluster.jobs.batch_rows import BatchRows, item_of
from cluster.jobs.database import Database
from cluster.jobs.model import JobStatus, new_id, public_error
from cluster.jobs.rows import JOB, Rows, job_of
from cluster.jobs.tables import batch_items, batches, job_events, jobs
from cluster.policy import PRIORITIES

OPEN_KEY = " open:"
"""Begins the key of a batch that was posted without one; no caller's key has a space. Let go when the batch ends, so
that the same command goes on with the batch while it is open, and begins another one afterwards."""
COST = jobs.c.report["cost"]["amount"].as_float()


class SqlFeeding:
    """The part of `BatchStore` for whoever feeds batches."""

    def __init__(self, db: Database, rows: Rows) -> None:
        self._db = db
        self._rows = rows
        self._batches = BatchRows()

    def claim(self, owner: str, lease_s: float, limit: int, but: Collection[str] = ()) -> list[Batch]:
        """See `BatchStore.claim`."""
        free = or_(batches.c.lease_until.is_(None), batches.c.lease_until < self._db.now())
        due = select(batches).where(batches.c.finished_at.is_(None), free, batches.c.id.not_in(list(but)))
        due = due.order_by(batches.c.priority, batches.c.id).limit(limit)
        if self._db.finds_nothing(due):
            return []
        with self._db.write() as connection:
            found = [BatchRows.batch_of(row) for row in connection.execute(due.with_for_update(skip_locked=True))]
            lease = {"lease_owner": owner, "lease_until": self._db.now(lease_s)}
            return [self._batches.change(connection, one, lease | {"fence": one.fence + 1}) for one in found]

    def renew(self, leases: Collection[tuple[str, int]], lease_s: float) -> None:
        """See `BatchStore.renew`."""
        mine = tuple_(batches.c.id, batches.c.fence).in_(list(leases))
        with self._db.write() as connection:
            connection.execute(
                batches.update()
                .where(mine, batches.c.finished_at.is_(None), batches.c.lease_until.is_not(None))
                .values(lease_until=self._db.now(lease_s))
            )

    def end_leases(self, owner: str) -> None:
        """See `BatchStore.end_leases`."""
        held = (batches.c.lease_owner == owner, batches.c.finished_at.is_(None))
        with self._db.write() as connection:
            connection.execute(batches.update().where(*held).values(lease_until=self._db.now()))

    def release(self, batch_id: str, fence: int) -> None:
        """See `BatchStore.release`."""
        with self._db.write() as connection:
            batch = self._batches.owned(connection, batch_id, fence)
            self._batches.change(connection, batch, {"lease_until": None, "lease_owner": None})

    def settle(self, batch_id: str, fence: int, lease_s: float) -> Batch:
        """See `BatchStore.settle`."""
        ended = (
            select(batch_items.c.number, jobs.c.status, jobs.c.error, COST.label("cost"))
            .join(jobs, jobs.c.id == batch_items.c.job_id)
            .where(batch_items.c.batch_id == batch_id, batch_items.c.status == ItemStatus.OPEN.value)
            .where(jobs.c.finished_at.is_not(None))
        )
        with self._db.read() as connection:  # most looks are in vain, and SQLite has one write lock
            now = connection.execute(select(self._db.now())).scalar_one()
            batch = self._batches.get(connection, batch_id)
            is_fresh = batch.lease_until is not None and (batch.lease_until - now).total_seconds() > lease_s * 0.75
            is_mine = batch.fence == fence and batch.finished_at is None
            if is_mine and is_fresh and connection.execute(ended.limit(1)).first() is None:
                return batch
        with self._db.write() as connection:
            batch = self._batches.owned(connection, batch_id, fence)
            found = connection.execute(ended).all()
            values = self._settled(connection, batch, found) if found else {}
            return self._batches.change(connection, batch, values | {"lease_until": self._db.now(lease_s)})

    def _settled(self, connection: Connection, batch: Batch, found: Sequence[Any]) -> dict[str, Any]:
        """Note how items ended; the new counts of the batch."""
        update = batch_items.update().where(
            batch_items.c.batch_id == batch.id, batch_items.c.number == bindparam("one")
        )
        values = update.values(status=bindparam("new_status"), error=bindparam("new_error"))
        connection.execute(
            values,
            [
                {"one": row.number, "new_status": row.status, "new_error": row.error and public_error(row.error)}
                for row in found
            ],
        )
        statuses = [row.status for row in found]
        counts = {
            status.value: getattr(batch, status.value) + statuses.count(status.value)
            for status in (JobStatus.READY, JobStatus.FAILED, JobStatus.CANCELLED)
        }
        settled = batch.settled + len(found)
        changes: dict[str, Any] = counts | {"pace": batch.paced(time.time(), sum(counts.values()), settled)}
        if costs := [row.cost for row in found if row.cost is not None]:
            changes["cost"] = (batch.cost or 0.0) + sum(costs)
        if batch.on_error == "stop" and batch.ending is None and JobStatus.FAILED.value in statuses:
            changes |= _ending(BatchStatus.STOPPED)
        return changes

    def feed(
        self,
        batch_id: str,
        fence: int,
        items: Sequence[NewItem],
        *,
        cursor: Mapping[str, Any],
        ending: BatchStatus | None = None,
        error: dict[str, Any] | None = None,
    ) -> Batch:
        """See `BatchStore.feed`."""
        with self._db.write() as connection:
            batch = self._batches.owned(connection, batch_id, fence)
            if batch.ending is not None:  # cancelled meanwhile
                return batch
            rows = [self._item_row(batch, batch.items + place, item) for place, item in enumerate(items)]
            self._add_jobs(connection, batch, [(row["job_id"], item) for row, item in zip(rows, items, strict=True)])
            if rows:
                connection.execute(insert(batch_items), rows)
            values: dict[str, Any] = {"items": batch.items + len(rows), "cursor": dict(cursor)}
            values |= _passed(batch, items)
            if ending is not None:
                values |= _ending(ending) | {"total": values["items"], "error": error}
            return self._batches.change(connection, batch, values)

    def note_total(self, batch_id: str, fence: int, total: int) -> None:
        """See `BatchStore.note_total`."""
        with self._db.write() as connection:
            self._batches.change(connection, self._batches.owned(connection, batch_id, fence), {"total": total})

    def waiting(self, batch_id: str, limit: int) -> list[Outcome]:
        """See `BatchStore.waiting`."""
        return self._outcomes(batch_id, limit, batch_items.c.status == ItemStatus.WAITING.value)

    def outcomes(self, batch_id: str, after: int, limit: int) -> list[Outcome]:
        """See `BatchStore.outcomes`."""
        return self._outcomes(batch_id, limit, batch_items.c.number > after)

    def open_jobs(self, batch_id: str) -> list[str]:
        """See `BatchStore.open_jobs`."""
        query = (
            select(batch_items.c.job_id)
            .join(jobs, jobs.c.id == batch_items.c.job_id)
            .where(batch_items.c.batch_id == batch_id, batch_items.c.status == ItemStatus.OPEN.value)
            .where(jobs.c.finished_at.is_(None), jobs.c.cancel_requested.is_(False))
        )
        with self._db.read() as connection:
            return list(connection.execute(query).scalars())

    def repeat(self, batch_id: str, fence: int, items: Sequence[tuple[int, NewItem]]) -> Batch:
        """See `BatchStore.repeat`."""
        with self._db.write() as connection:
            batch = self._batches.owned(connection, batch_id, fence)
            if batch.cancel_requested:
                return batch
            rows = [self._item_row(batch, number, item) for number, item in items]
            self._add_jobs(connection, batch, [(r["job_id"], i) for r, (_, i) in zip(rows, items, strict=True)])
            values: dict[str, Any] = {"waiting": batch.waiting - len(rows)}
            for row, (_, item) in zip(rows, items, strict=True):
                if item.status is ItemStatus.OPEN and item.job is None:
                    self._requeue(connection, row["job_id"])
                mine = (batch_items.c.batch_id == batch_id, batch_items.c.number == row["number"])
                changed = {name: row[name] for name in ("job_id", "status", "error", "asked")}
                connection.execute(batch_items.update().where(*mine).values(changed))
            values |= _passed(batch, [item for _, item in items])
            return self._batches.change(connection, batch, values)

    def _requeue(self, connection: Connection, job_id: str) -> None:
        """Queue an ended job anew, unless somebody did so already."""
        job = self._rows.locked(connection, job_id)
        if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
            self._rows.requeue(connection, job)

    def finish(self, batch_id: str, fence: int, error: dict[str, Any] | None = None) -> Batch:
        """See `BatchStore.finish`."""
        with self._db.write() as connection:
            batch = self._batches.owned(connection, batch_id, fence)
            if batch.ending is None or batch.open or batch.waiting:
                return batch  # a retry came while the results were written
            values: dict[str, Any] = {"status": batch.ending.value, "finished_at": self._db.now()}
            values |= {"lease_until": None, "lease_owner": None, "cancel_requested": False}
            if error is not None:
                values |= {"status": BatchStatus.FAILED.value, "ending": BatchStatus.FAILED.value, "error": error}
            if batch.idem_key is not None and batch.idem_key.startswith(OPEN_KEY):
                values["idem_key"] = None
            return self._batches.change(connection, batch, values)

    def _outcomes(self, batch_id: str, limit: int, which: Any) -> list[Outcome]:
        query = (
            select(batch_items)
            .where(batch_items.c.batch_id == batch_id, which)
            .order_by(batch_items.c.number)
            .limit(limit)
        )
        with self._db.read() as connection:
            found = [item_of(row) for row in connection.execute(query)]
            ids = {item.job_id for item in found if item.job_id is not None}
            made = [job_of(row._mapping) for row in connection.execute(select(*JOB).where(jobs.c.id.in_(ids)))]
        by_id = {job.id: job for job in made}
        return [Outcome(item, by_id.get(item.job_id or "")) for item in found]

    def _item_row(self, batch: Batch, number: int, item: NewItem) -> dict[str, Any]:
        return {
            "batch_id": batch.id,
            "number": number,
            "line": item.line,
            "source_uri": item.source_uri,
            "media_id": item.media_id,
            "asked": item.asked if item.status is ItemStatus.REFUSED else {},
            "job_id": new_id() if item.job is not None else item.job_id,
            "status": item.status.value,
            "error": item.error,
        }

    def _add_jobs(self, connection: Connection, batch: Batch, found: Sequence[tuple[str, NewItem]]) -> None:
        """Queue the jobs of a batch, a hundred rows by one statement: one each costs a large batch half of its time."""
        rows = []
        for job_id, item in found:
            if item.job is None:
                continue
            asked = {name: getattr(item.job, name) for name in item.job.__dataclass_fields__}
            rows.append(
                asked
                | {"id": job_id, "batch_id": batch.id, "recipe": None, "priority": PRIORITIES[item.job.priority]}
                | {"request_hash": "", "status": JobStatus.QUEUED.value, "fence": 0, "attempts": 0}
                | {"cancel_requested": False, "progress": {}}
            )
        if rows:
            timed = {"run_after": self._db.now(), "created_at": self._db.now()}
            connection.execute(insert(jobs).values(timed), rows)
            data = {"priority": batch.priority, "recipe": batch.recipe_name}
            events = [{"job_id": row["id"], "kind": "queued", "data": data} for row in rows]
            connection.execute(insert(job_events).values(at=self._db.now()), events)


def _passed(batch: Batch, items: Sequence[NewItem]) -> dict[str, Any]:
    """How the batch changes by those of the items that need no job."""
    found = [item.status for item in items if item.status in (ItemStatus.CURRENT, ItemStatus.REFUSED)]
    if not found:
        return {}
    counts = {status.value: getattr(batch, status.value) + found.count(status) for status in set(found)}
    return counts | {"pace": batch.paced(time.time(), batch.turned, batch.settled + len(found))}


def _ending(ending: BatchStatus) -> dict[str, Any]:
    return {"ending": ending.value, "status": BatchStatus.RUNNING.value}
