"""The job store in SQLite or PostgreSQL."""

import base64
import binascii
import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import case, func, null, select

from cluster.errors import IdempotencyConflict, IllegalMove, InvalidCursor
from cluster.jobs import migrations
from cluster.jobs.database import Database, open_engine
from cluster.jobs.model import ENDED, Event, Job, JobPage, JobStatus, NewJob, check_move
from cluster.jobs.outbox import SqlOutbox
from cluster.jobs.rows import Rows, fence_lost, job_of
from cluster.jobs.tables import job_events, jobs
from cluster.settings import DatabaseSettings
from cluster.slots import PRIORITIES

MAX_PAGE = 1000


def open_store(settings: DatabaseSettings) -> "SqlStore":
    """The store at the settings' URL. Connects when it is first used; its tables are `upgrade`'s business."""
    return SqlStore(Database(open_engine(settings)))


class SqlStore(SqlOutbox):
    """See `JobStore`, which says what each method promises."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self._rows = Rows(db)

    def create(self, new: NewJob, idem_key: str | None = None) -> tuple[Job, bool]:
        """See `JobStore.create`."""
        new.check()
        request_hash = new.request_hash()
        with self._db.write() as connection:
            job = self._rows.add(connection, new, idem_key, request_hash)
            if job is not None:
                self._rows.note(connection, job.id, "queued", {"priority": job.priority, "recipe": job.recipe_name})
                return job, True
            row = connection.execute(select(jobs).where(jobs.c.org == new.org, jobs.c.idem_key == idem_key)).one()
        return _same(row, request_hash), False

    def created_before(self, new: NewJob, idem_key: str) -> Job | None:
        """See `JobStore.created_before`."""
        new.check()
        query = select(jobs).where(jobs.c.org == new.org, jobs.c.idem_key == idem_key)
        with self._db.read() as connection:
            row = connection.execute(query).one_or_none()
        return _same(row, new.request_hash()) if row is not None else None

    def get(self, job_id: str) -> Job:
        """See `JobStore.get`."""
        with self._db.read() as connection:
            return self._rows.get(connection, job_id)

    def latest_for_media(self, org: str, media_id: str, status: JobStatus | None = None) -> Job | None:
        """See `JobStore.latest_for_media`."""
        query = select(jobs).where(jobs.c.org == org, jobs.c.media_id == media_id)
        if status is not None:
            query = query.where(jobs.c.status == status)
        with self._db.read() as connection:
            row = connection.execute(query.order_by(jobs.c.id.desc()).limit(1)).one_or_none()
        return job_of(row._mapping) if row is not None else None

    def list_jobs(
        self,
        *,
        status: JobStatus | None = None,
        org: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """See `JobStore.list_jobs`."""
        limit = max(1, min(limit, MAX_PAGE))
        columns = [null().label("report") if column is jobs.c.report else column for column in jobs.c]
        query = select(*columns).order_by(jobs.c.id.desc()).limit(limit + 1)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if org is not None:
            query = query.where(jobs.c.org == org)
        if cursor is not None:
            query = query.where(jobs.c.id < _decoded(cursor))
        with self._db.read() as connection:
            found = [job_of(row._mapping) for row in connection.execute(query)]
        more = len(found) > limit
        return JobPage(tuple(found[:limit]), _encoded(found[limit - 1].id) if more else None)

    def counts(self) -> dict[JobStatus, int]:
        """See `JobStore.counts`."""
        with self._db.read() as connection:
            found = connection.execute(select(jobs.c.status, func.count()).group_by(jobs.c.status)).all()
        return dict.fromkeys(JobStatus, 0) | {JobStatus(status): count for status, count in found}

    def claim(self, owner: str, lease_s: float, limit: int, worst: str = "bulk") -> list[Job]:
        """See `JobStore.claim`."""
        is_due = case(
            (jobs.c.status == JobStatus.QUEUED.value, jobs.c.run_after <= self._db.now()),
            else_=jobs.c.lease_until < self._db.now(),
        )
        due = (
            select(jobs)
            .where(jobs.c.finished_at.is_(None), is_due, jobs.c.priority <= PRIORITIES[worst])
            .order_by(jobs.c.priority, jobs.c.created_at, jobs.c.id)
            .limit(limit)
        )
        claimed = []
        if self._db.finds_nothing(due):
            return []
        with self._db.write() as connection:
            found = connection.execute(due.with_for_update(skip_locked=True))
            for job in [job_of(row._mapping) for row in found]:
                if job.cancel_requested:  # its owner died before it could obey
                    self._rows.end(connection, job, JobStatus.CANCELLED, {})
                    continue
                lease = {
                    "status": JobStatus.PROCESSING.value,
                    "fence": job.fence + 1,
                    "attempts": job.attempts + 1,
                    "lease_owner": owner,
                    "lease_until": self._db.now(lease_s),
                    "started_at": self._db.now(),
                }
                taken_over = job.status is JobStatus.PROCESSING
                job = self._rows.change(connection, job, lease)
                self._rows.note(connection, job.id, "started", {"attempt": job.attempts, "taken_over": taken_over})
                claimed.append(job)
        return claimed

    def renew(self, job_id: str, fence: int, lease_s: float, progress: dict[str, Any] | None = None) -> None:
        """See `JobStore.renew`."""
        values: dict[str, Any] = {"lease_until": self._db.now(lease_s)}
        if progress is not None:
            values["progress"] = progress
        mine = (jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.status == JobStatus.PROCESSING.value)
        with self._db.write() as connection:
            renewed = connection.execute(jobs.update().where(*mine).values(values).returning(jobs.c.id)).one_or_none()
            if renewed is None:
                raise fence_lost(self._rows.locked(connection, job_id), fence)

    def release(self, job_id: str, fence: int, delay_s: float = 0.0, error: dict[str, Any] | None = None) -> None:
        """See `JobStore.release`."""
        with self._db.write() as connection:
            job = self._rows.owned(connection, job_id, fence)
            if job.cancel_requested:
                self._rows.end(connection, job, JobStatus.CANCELLED, {})
                return
            self._queue(job, connection, delay_s, {"error": error} if error else None)
            why = {name: error[name] for name in ("code", "message")} if error else None
            told = {"attempt": job.attempts, "delay_s": delay_s, "error": why}
            self._rows.note(connection, job_id, "released", told)

    def finish(
        self,
        job_id: str,
        fence: int,
        *,
        status: JobStatus | str,
        revision: str | None = None,
        manifest_key: str | None = None,
        report: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        progress: dict[str, Any] | None = None,
    ) -> Job:
        """See `JobStore.finish`."""
        wanted = JobStatus(status)
        if wanted not in ENDED:
            raise ValueError(f"{wanted} is not an end")
        values = {"revision": revision, "manifest_key": manifest_key, "report": report, "error": error}
        if progress is not None:
            values["progress"] = progress
        with self._db.write() as connection:
            job = self._rows.locked(connection, job_id)
            if job.fence != fence:
                raise fence_lost(job, fence)
            if job.status is wanted:
                return job  # the answer to the first call was lost
            if job.status is JobStatus.QUEUED:
                raise fence_lost(job, fence)
            check_move(job, wanted)
            return self._rows.end(connection, job, wanted, values)

    def request_cancel(self, job_id: str) -> Job:
        """See `JobStore.request_cancel`."""
        with self._db.write() as connection:
            job = self._rows.locked(connection, job_id)
            asked_already = job.cancel_requested and job.status is JobStatus.PROCESSING
            if job.status is JobStatus.CANCELLED or asked_already:
                return job
            check_move(job, JobStatus.CANCELLED)
            if job.status is JobStatus.QUEUED:
                return self._rows.end(connection, job, JobStatus.CANCELLED, {})
            self._rows.note(connection, job_id, "cancel_requested", {})
            return self._rows.change(connection, job, {"cancel_requested": True})

    def cancel_wanted(self, job_ids: Iterable[str]) -> set[str]:
        """See `JobStore.cancel_wanted`."""
        running = jobs.c.status == JobStatus.PROCESSING.value
        query = select(jobs.c.id).where(jobs.c.id.in_(list(job_ids)), running, jobs.c.cancel_requested)
        with self._db.read() as connection:
            return set(connection.execute(query).scalars())

    def retry(self, job_id: str) -> Job:
        """See `JobStore.retry`."""
        anew = {"attempts": 0, "cancel_requested": False, "progress": {}, "error": None}
        anew |= {"started_at": None, "finished_at": None}
        with self._db.write() as connection:
            job = self._rows.locked(connection, job_id)
            if job.status not in ENDED:  # a running job goes back to the queue by its owner only
                raise IllegalMove(f"the job is {job.status}: it has not ended yet", detail={"job_id": job.id})
            check_move(job, JobStatus.QUEUED)
            self._rows.note(connection, job_id, "retried", {"was": job.status.value})
            return self._queue(job, connection, 0.0, anew)

    def _queue(self, job: Job, connection: Any, delay_s: float, also: dict[str, Any] | None = None) -> Job:
        waiting = {"status": JobStatus.QUEUED.value, "run_after": self._db.now(delay_s)}
        return self._rows.change(connection, job, waiting | {"lease_until": None, "lease_owner": None} | (also or {}))

    def events(self, job_id: str, after_seq: int = 0, limit: int = 100) -> list[Event]:
        """See `JobStore.events`."""
        query = select(job_events).where(job_events.c.job_id == job_id, job_events.c.seq > after_seq)
        with self._db.read() as connection:
            found = connection.execute(query.order_by(job_events.c.seq).limit(limit)).all()
        return [Event(**row._mapping) for row in found]

    def ping(self) -> None:
        """See `JobStore.ping`."""
        with self._db.read() as connection:
            migrations.check_current(connection)

    def upgrade(self) -> None:
        """Bring the tables to this version."""
        migrations.upgrade(self._db.engine)

    def close(self) -> None:
        """See `JobStore.close`."""
        self._db.engine.dispose()


def _same(row: Any, request_hash: str) -> Job:
    if row.request_hash != request_hash:
        raise IdempotencyConflict(
            "this idempotency key was used before, for another request", detail={"job_id": row.id}
        )
    return job_of(row._mapping)


def _encoded(job_id: str) -> str:
    return base64.urlsafe_b64encode(uuid.UUID(job_id).bytes).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    try:
        return str(uuid.UUID(bytes=base64.urlsafe_b64decode(f"{cursor}==".encode("ascii"))))
    except (binascii.Error, ValueError):
        raise InvalidCursor("the cursor is not one that this listing gave") from None
