"""The job store in SQLite or PostgreSQL."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, case, func, null, select

from cluster.errors import IdempotencyConflict, IllegalMove, InvalidJob
from cluster.jobs import migrations
from cluster.jobs.batches import SqlBatches
from cluster.jobs.database import Database, open_engine
from cluster.jobs.model import ENDED, Event, Job, JobPage, JobStatus, NewJob, Renewal, Wish, check_move
from cluster.jobs.outbox import SqlOutbox
from cluster.jobs.queue import SqlQueue
from cluster.jobs.rows import CLASSES, JOB, Rows, cursor_of, fence_lost, id_at, job_of
from cluster.jobs.tables import job_events, jobs
from cluster.policy import PRIORITIES
from cluster.settings import DatabaseSettings

MAX_PAGE = 1000


def open_store(settings: DatabaseSettings) -> "SqlStore":
    """The store at the settings' URL. Connects when it is first used; its tables are `upgrade`'s business."""
    return SqlStore(Database(open_engine(settings)))


class SqlStore(SqlOutbox, SqlQueue):
    """See `JobStore`, which says what each method promises."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._rows = Rows(db)
        self.batches = SqlBatches(db, self._rows)

    def create(self, new: NewJob, idem_key: str | None = None) -> tuple[Job, bool]:
        """See `JobStore.create`."""
        new.check()
        request_hash = new.request_hash()

        def add(connection: Connection) -> tuple[Job | None, Any]:
            job = self._rows.add(connection, new, idem_key, request_hash)
            if job is not None:
                self._rows.note(connection, job.id, "queued", {"priority": job.priority, "recipe": job.recipe_name})
                return job, None
            taken = select(*JOB).where(jobs.c.org == new.org, jobs.c.idem_key == idem_key)
            return None, connection.execute(taken).one()

        job, row = self._db.write_together(add)
        return (job, True) if job is not None else (_same(row, request_hash), False)

    def created_before(self, new: NewJob, idem_key: str) -> Job | None:
        """See `JobStore.created_before`."""
        new.check()
        query = select(*JOB).where(jobs.c.org == new.org, jobs.c.idem_key == idem_key)
        with self._db.read() as connection:
            row = connection.execute(query).one_or_none()
        return _same(row, new.request_hash()) if row is not None else None

    def get(self, job_id: str) -> Job:
        """See `JobStore.get`."""
        with self._db.read() as connection:
            return self._rows.get(connection, job_id)

    def latest_for_media(self, org: str, media_id: str, status: JobStatus | None = None) -> Job | None:
        """See `JobStore.latest_for_media`."""
        query = select(*JOB).where(jobs.c.org == org, jobs.c.media_id == media_id)
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
        columns = [null().label("report") if column is jobs.c.report else column for column in JOB]
        query = select(*columns).order_by(jobs.c.id.desc()).limit(limit + 1)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if org is not None:
            query = query.where(jobs.c.org == org)
        if cursor is not None:
            query = query.where(jobs.c.id < id_at(cursor))
        with self._db.read() as connection:
            found = [job_of(row._mapping) for row in connection.execute(query)]
        more = len(found) > limit
        return JobPage(tuple(found[:limit]), cursor_of(found[limit - 1].id) if more else None)

    def counts(self) -> dict[JobStatus, int]:
        """See `JobStore.counts`."""
        with self._db.read() as connection:
            found = connection.execute(select(jobs.c.status, func.count()).group_by(jobs.c.status)).all()
        return dict.fromkeys(JobStatus, 0) | {JobStatus(status): count for status, count in found}

    def claim(self, owner: str, lease_s: float, limit: int, of: tuple[str, str] | None = None) -> list[Job]:
        """See `JobStore.claim`."""
        is_due = case(
            (jobs.c.status == JobStatus.QUEUED.value, jobs.c.run_after <= self._db.now()),
            else_=jobs.c.lease_until < self._db.now(),
        )
        due = (
            select(*JOB)
            .where(jobs.c.finished_at.is_(None), is_due)
            .order_by(jobs.c.priority, jobs.c.created_at, jobs.c.id)
            .limit(limit)
        )
        if of is not None:
            due = due.where(jobs.c.priority == PRIORITIES[of[0]], jobs.c.org == of[1])
        claimed = []
        if self._db.finds_nothing(due):
            return []
        with self._db.write() as connection:
            found = connection.execute(due.with_for_update(skip_locked=True, of=jobs))
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
                claimed.append(replace(job, taken_over=taken_over))
        return claimed

    def end_leases(self, owner: str) -> int:
        """See `JobStore.end_leases`."""
        held = (jobs.c.lease_owner == owner, jobs.c.status == JobStatus.PROCESSING.value)
        ended = jobs.update().where(*held, jobs.c.finished_at.is_(None)).values(lease_until=self._db.now())
        with self._db.write() as connection:
            return len(connection.execute(ended.returning(jobs.c.id)).all())

    def renew(self, job_id: str, fence: int, lease_s: float, progress: dict[str, Any] | None = None) -> None:
        """See `JobStore.renew`."""
        with self._db.write() as connection:
            if not self._rows.renew(connection, Renewal(job_id, fence, progress), lease_s):
                raise fence_lost(self._rows.locked(connection, job_id), fence)

    def renew_all(self, renewals: Sequence[Renewal], lease_s: float) -> set[str]:
        """See `JobStore.renew_all`."""
        lost = set()
        with self._db.write() as connection:
            for one in renewals:
                if not self._rows.renew(connection, one, lease_s):
                    lost.add(one.job_id)
        return lost

    def release(self, job_id: str, fence: int, delay_s: float = 0.0, error: dict[str, Any] | None = None) -> None:
        """See `JobStore.release`."""
        with self._db.write() as connection:
            job = self._rows.owned(connection, job_id, fence)
            if job.cancel_requested:
                self._rows.end(connection, job, JobStatus.CANCELLED, {})
                return
            also = {"error": error} if error else {"attempts": job.attempts - 1}
            self._rows.queue(connection, job, delay_s, also)
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

    def prioritise(self, job_id: str, priority: str) -> Job:
        """See `JobStore.prioritise`."""
        if priority not in PRIORITIES:
            raise InvalidJob(f"the priority is none of {', '.join(PRIORITIES)}")
        with self._db.write() as connection:
            job = self._rows.locked(connection, job_id)
            if job.status in ENDED:
                raise IllegalMove(f"the job is {job.status}: it has no turn any more", detail={"job_id": job.id})
            if job.priority == priority:
                return job
            self._rows.note(connection, job_id, "prioritised", {"was": job.priority, "priority": priority})
            return self._rows.change(connection, job, {"priority": PRIORITIES[priority]})

    def wishes(self, job_ids: Iterable[str]) -> dict[str, Wish]:
        """See `JobStore.wishes`."""
        running = jobs.c.status == JobStatus.PROCESSING.value
        query = select(jobs.c.id, jobs.c.cancel_requested, jobs.c.priority)
        with self._db.read() as connection:
            found = connection.execute(query.where(jobs.c.id.in_(list(job_ids)), running)).all()
        return {row.id: Wish(row.cancel_requested, CLASSES[row.priority]) for row in found}

    def retry(self, job_id: str) -> Job:
        """See `JobStore.retry`."""
        with self._db.write() as connection:
            job = self._rows.locked(connection, job_id)
            if job.status not in ENDED:  # a running job goes back to the queue by its owner only
                raise IllegalMove(f"the job is {job.status}: it has not ended yet", detail={"job_id": job.id})
            check_move(job, JobStatus.QUEUED)
            return self._rows.requeue(connection, job)

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
