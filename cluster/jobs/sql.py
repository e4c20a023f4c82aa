"""The job store in SQLite or PostgreSQL."""

from collections.abc import Iterable

from sqlalchemy import null, select

from cluster.errors import IllegalMove, InvalidJob
from cluster.jobs import migrations
from cluster.jobs.batches import SqlBatches
from cluster.jobs.creating import SqlCreating
from cluster.jobs.database import Database, open_engine
from cluster.jobs.history import SqlHistory
from cluster.jobs.leasing import SqlLeases
from cluster.jobs.model import ENDED, Event, Job, JobPage, JobStatus, Wish, check_move
from cluster.jobs.outbox import SqlOutbox
from cluster.jobs.queue import SqlQueue
from cluster.jobs.rows import CLASSES, JOB, Rows, cursor_of, id_at, job_of
from cluster.jobs.tables import job_events, jobs
from cluster.policy import PRIORITIES
from cluster.settings import DatabaseSettings

MAX_PAGE = 1000


def open_store(settings: DatabaseSettings) -> "SqlStore":
    """The store at the settings' URL. Connects when it is first used; its tables are `upgrade`'s business."""
    return SqlStore(Database(open_engine(settings)))


class SqlStore(SqlCreating, SqlLeases, SqlOutbox, SqlQueue, SqlHistory):
    """See `JobStore`, which says what each method promises."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._rows = Rows(db)
        self.batches = SqlBatches(db, self._rows)

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
            batch_id = self._rows.get(connection, job_id).batch_id
            # The batch is locked before its jobs, as by whoever feeds it.
            batch = self.batches.locked(connection, batch_id) if batch_id is not None else None
            job = self._rows.locked(connection, job_id)
            if job.status not in ENDED:  # a running job goes back to the queue by its owner only
                raise IllegalMove(f"the job is {job.status}: it has not ended yet", detail={"job_id": job.id})
            check_move(job, JobStatus.QUEUED)
            if batch is not None:
                self.batches.reopen(connection, batch, job.id, job.media_id)
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
