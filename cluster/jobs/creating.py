"""New jobs: the part of the job store that every upload passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from cluster.errors import IdempotencyConflict, InvalidJob, StoreError
from cluster.jobs.database import Database
from cluster.jobs.model import Job, JobStatus, NewJob, new_id
from cluster.jobs.rows import CLASSES, JOB, job_of
from cluster.jobs.tables import job_events, jobs
from cluster.policy import PRIORITIES

type Made = tuple[Job, bool]
"""A job, and whether it is new."""

_EMPTY = dict.fromkeys(jobs.c.keys())
_taken = select(*JOB).where(jobs.c.org == bindparam("org"), jobs.c.idem_key == bindparam("key"))
_insert_events = insert(job_events)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A job to be stored under `id`, unless its org used `idem_key` before."""

    id: str
    new: NewJob
    idem_key: str | None
    request_hash: str

    @property
    def row(self) -> dict[str, Any]:
        """All that is stored but the times."""
        return {name: getattr(self.new, name) for name in NewJob.__dataclass_fields__} | {
            "id": self.id,
            "priority": PRIORITIES[self.new.priority],
            "idem_key": self.idem_key,
            "request_hash": self.request_hash,
            "status": JobStatus.QUEUED.value,
            "fence": 0,
            "attempts": 0,
            "cancel_requested": False,
            "progress": {},
        }


class SqlCreating:
    """The part of `JobStore` about new jobs."""

    _db: Database

    def create_all(self, several: Sequence[tuple[NewJob, str | None]]) -> list[Made | StoreError]:
        """See `JobStore.create_all`."""
        asked = [_asked(new, idem_key) for new, idem_key in several]
        made = self._made([one for one in asked if isinstance(one, _Asked)])
        return [made[one.id] if isinstance(one, _Asked) else one for one in asked]

    def created_before(self, new: NewJob, idem_key: str) -> Job | None:
        """See `JobStore.created_before`."""
        new.check()
        with self._db.read() as connection:
            row = connection.execute(_taken, {"org": new.org, "key": idem_key}).one_or_none()
        if row is None:
            return None
        found = _same(row, new.request_hash())
        if isinstance(found, StoreError):
            raise found
        return found[0]

    def _made(self, asked: Sequence[_Asked]) -> dict[str, Made | StoreError]:
        """What became of each, by its id; all in one transaction, or one for each when one of them spoils that."""
        if not asked:
            return {}
        try:
            with self._db.write() as connection:
                added = self._add(connection, asked)
                taken = {(one.new.org, one.idem_key) for one in asked if one.id not in added}
                before = {(org, key): connection.execute(_taken, {"org": org, "key": key}).one() for org, key in taken}
        except InvalidJob as error:
            if len(asked) == 1:
                return {asked[0].id: error}
            return {one.id: made for one in asked for made in self._made([one]).values()}
        except StoreError as error:
            return {one.id: error for one in asked}
        return {
            one.id: (added[one.id], True)
            if one.id in added
            else _same(before[one.new.org, one.idem_key], one.request_hash)
            for one in asked
        }

    def _add(self, connection: Connection, asked: Sequence[_Asked]) -> dict[str, Job]:
        """Insert the jobs with their first events; those, by id, whose org's key was free."""
        at = self._db.moment(connection)
        times = {"run_after": at, "created_at": at}
        # In one order everywhere: two writers that want the same keys would wait for one another.
        rows = [one.row | times for one in sorted(asked, key=lambda one: (one.new.org, one.idem_key or ""))]
        added = set(connection.execute(self._insert_jobs, rows).scalars())
        found = [row for row in rows if row["id"] in added]
        events = [{"job_id": row["id"], "at": at, "kind": "queued", "data": _told(row)} for row in found]
        if events:
            connection.execute(_insert_events, events)
        return {row["id"]: job_of(_EMPTY | row) for row in found}

    @cached_property
    def _insert_jobs(self) -> Any:
        free = self._db.insert(jobs).on_conflict_do_nothing(index_elements=[jobs.c.org, jobs.c.idem_key])
        # psycopg counts the rows of such an INSERT as -1: what comes back tells which there are.
        return free.returning(jobs.c.id)


def _told(row: dict[str, Any]) -> dict[str, str]:
    return {"priority": CLASSES[row["priority"]], "recipe": row["recipe_name"]}


def _asked(new: NewJob, idem_key: str | None) -> _Asked | InvalidJob:
    try:
        new.check()
    except InvalidJob as error:
        return error
    return _Asked(new_id(), new, idem_key, new.request_hash())


def _same(row: Any, request_hash: str) -> Made | IdempotencyConflict:
    if row.request_hash != request_hash:
        return IdempotencyConflict(
            "this idempotency key was used before, for another request", detail={"job_id": row.id}
        )
    return job_of(row._mapping), False
