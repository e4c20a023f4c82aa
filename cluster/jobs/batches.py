"""Batches in the job store: what the API asks and changes. Who feeds a batch writes by `cluster.jobs.feeding`."""

import re
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.expression import ColumnElement

from cluster.errors import IdempotencyConflict, IllegalMove, InvalidCursor
from cluster.jobs.batch_model import REPEATABLE, Batch, BatchStatus, Failures, Item, ItemStatus, NewBatch
from cluster.jobs.batch_rows import BatchRows, item_of
from cluster.jobs.feeding import OPEN_KEY, SqlFeeding
from cluster.jobs.model import JobStatus, dumped, new_id
from cluster.jobs.rows import cursor_of, id_at
from cluster.jobs.tables import batch_items, batches, jobs
from cluster.policy import PRIORITIES

_NUMBER = re.compile("[0-9]{1,15}")
MAX_PAGE = 1000
MAX_CODES = 100
COUNTED = tuple(status for status in ItemStatus if status is not ItemStatus.OPEN)


class SqlBatches(SqlFeeding):
    """See `cluster.jobs.batch_store.BatchStore`, which says what each method promises."""

    def create(self, new: NewBatch, idem_key: str | None = None) -> tuple[Batch, bool]:
        """See `BatchStore.create`."""
        new.check()
        request_hash = new.request_hash()
        row: dict[str, Any] = {name: getattr(new, name) for name in new.__dataclass_fields__} | {
            "id": new_id(),
            "priority": PRIORITIES[new.priority],
            "idem_key": idem_key if idem_key is not None else _open_key(request_hash, new.recipe_digest),
            "request_hash": request_hash,
            "status": BatchStatus.LISTING.value,
            "cancel_requested": False,
            "cursor": {},
            "pace": [],
            "fence": 0,
            "created_at": self._db.now(),
        }
        row |= dict.fromkeys(("items", "waiting", "ready", "failed", "cancelled", "current", "refused"), 0)
        insert = (
            self._db.insert(batches)
            .values(row)
            .on_conflict_do_nothing(index_elements=[batches.c.org, batches.c.idem_key])
            .returning(batches.c.id)
        )
        with self._db.write() as connection:
            is_new = connection.execute(insert).one_or_none() is not None
            mine = select(batches).where(batches.c.org == new.org, batches.c.idem_key == row["idem_key"])
            found = connection.execute(mine).one()
            if found.request_hash != request_hash:
                raise IdempotencyConflict(
                    "this idempotency key was used before, for another request or another state of the "
                    "manifest: choose another one",
                    detail={"batch_id": found.id},
                )
        return BatchRows.batch_of(found), is_new

    def get(self, batch_id: str) -> Batch:
        """See `BatchStore.get`."""
        with self._db.read() as connection:
            return self._batches.get(connection, batch_id)

    def standing(self) -> dict[str, str]:
        """See `BatchStore.standing`."""
        moving = [batches.c[name] for name in ("status", "cursor", "items", *(status.value for status in COUNTED))]
        with self._db.read() as connection:
            found = connection.execute(select(batches.c.id, *moving).where(batches.c.finished_at.is_(None))).all()
        return {row.id: dumped(list(row[1:])) for row in found}

    def newest_like(self, new: NewBatch) -> Batch | None:
        """See `BatchStore.newest_like`."""
        same = (batches.c.org == new.org, batches.c.request_hash == new.request_hash())
        query = (
            select(batches)
            .where(*same, batches.c.recipe_digest == new.recipe_digest)
            .order_by(batches.c.id.desc())
            .limit(1)
        )
        with self._db.read() as connection:
            row = connection.execute(query).one_or_none()
        return BatchRows.batch_of(row) if row is not None else None

    def list_batches(
        self, *, org: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Batch], str | None]:
        """See `BatchStore.list_batches`."""
        limit = max(1, min(limit, MAX_PAGE))
        query = select(batches).order_by(batches.c.id.desc()).limit(limit + 1)
        if org is not None:
            query = query.where(batches.c.org == org)
        if cursor is not None:
            query = query.where(batches.c.id < id_at(cursor))
        with self._db.read() as connection:
            found = [BatchRows.batch_of(row) for row in connection.execute(query)]
        more = len(found) > limit
        return found[:limit], cursor_of(found[limit - 1].id) if more else None

    def items(
        self, batch_id: str, *, status: ItemStatus | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Item], str | None]:
        """See `BatchStore.items`."""
        limit = max(1, min(limit, MAX_PAGE))
        query = select(batch_items).where(batch_items.c.batch_id == batch_id).order_by(batch_items.c.number)
        if status is not None:
            query = query.where(batch_items.c.status == status.value)
        if cursor is not None:
            query = query.where(batch_items.c.number > _number(cursor))
        with self._db.read() as connection:
            found = [item_of(row) for row in connection.execute(query.limit(limit + 1))]
        more = len(found) > limit
        return found[:limit], str(found[limit - 1].number) if more else None

    def failures(self, batch_id: str) -> list[Failures]:
        """See `BatchStore.failures`."""
        code = batch_items.c.error["code"].as_string()
        message = batch_items.c.error["message"].as_string()
        query = (
            select(batch_items.c.status, code.label("code"))
            .add_columns(func.count().label("items"), func.min(message).label("one"))
            .where(batch_items.c.batch_id == batch_id)
            .where(batch_items.c.status.in_([ItemStatus.FAILED.value, ItemStatus.REFUSED.value]))
            .group_by(batch_items.c.status, text("code"))  # by its name: PostgreSQL takes two parameters for two codes
            .order_by(func.count().desc(), text("code"))
            .limit(MAX_CODES)
        )
        with self._db.read() as connection:
            return [
                Failures(ItemStatus(row.status), row.code or "?", row.items, row.one or "")
                for row in connection.execute(query)
            ]

    def request_cancel(self, batch_id: str) -> Batch:
        """See `BatchStore.request_cancel`."""
        with self._db.write() as connection:
            batch = self._batches.locked(connection, batch_id)
            if batch.status is BatchStatus.CANCELLED or batch.cancel_requested:
                return batch
            if batch.finished_at is not None:
                raise IllegalMove(f"the batch is {batch.status}: it has ended", detail={"batch_id": batch.id})
            return self._batches.change(
                connection,
                batch,
                {
                    "cancel_requested": True,
                    "ending": BatchStatus.CANCELLED.value,
                    "status": BatchStatus.RUNNING.value,
                    **self._repeated(connection, batch, (ItemStatus.WAITING,), ItemStatus.CANCELLED),
                },
            )

    def retry(self, batch_id: str) -> Batch:
        """See `BatchStore.retry`."""
        with self._db.write() as connection:
            batch = self._batches.locked(connection, batch_id)
            if batch.cancel_requested and batch.finished_at is None:
                raise IllegalMove("the batch is being cancelled: retry once it is", detail={"batch_id": batch.id})
            values = self._repeated(connection, batch, REPEATABLE, ItemStatus.WAITING)
            is_read = batch.ending in (None, BatchStatus.READY)
            if batch.finished_at is not None and is_read and not values:
                return batch  # nothing failed
            self._take_key(connection, batch)
            if not is_read:  # it broke off: what was not read by then is read now
                values |= {"ending": None, "total": None}
            ending = batch.ending if is_read else None
            status = BatchStatus.LISTING if ending is None else BatchStatus.RUNNING
            values |= {"status": status.value, "cancel_requested": False, "finished_at": None, "pace": []}
            return self._batches.change(connection, batch, values | {"error": None})

    def _take_key(self, connection: Connection, batch: Batch) -> None:
        """Have the command of the locked `batch`, which is opened again, go on with it; IllegalMove.

        Where the command has begun another one meanwhile, both would make the same items side by side.
        """
        if batch.idem_key is not None:
            return
        mine = batches.c.id == batch.id
        key = _open_key(
            connection.execute(select(batches.c.request_hash).where(mine)).scalar_one(), batch.recipe_digest
        )
        try:
            with connection.begin_nested():
                connection.execute(batches.update().where(mine).values(idem_key=key))
        except IntegrityError:
            others = select(batches.c.id).where(batches.c.org == batch.org, batches.c.idem_key == key)
            other = connection.execute(others).scalar()
            raise IllegalMove(
                f"batch {other} of the same request is open: it makes what failed in this one",
                detail={"batch_id": other},
            ) from None

    def _repeated(
        self, connection: Connection, batch: Batch, was: tuple[ItemStatus, ...], now: ItemStatus
    ) -> dict[str, Any]:
        """Move items from the statuses `was` to `now`; how the batch's counts change by that."""
        moved = {}
        for status in was:
            mine: list[ColumnElement[bool]] = [
                batch_items.c.batch_id == batch.id,
                batch_items.c.status == status.value,
                batch_items.c.source_uri.is_not(None),  # a line that names no source says the same when read again
            ]
            moved[status] = connection.execute(
                batch_items.update().where(*mine).values(status=now.value, error=None)
            ).rowcount
        changes = {status.value: getattr(batch, status.value) - count for status, count in moved.items() if count}
        if changes:
            changes[now.value] = getattr(batch, now.value) + sum(moved.values())
        return changes

    def locked(self, connection: Connection, batch_id: str) -> Batch:
        """The batch, which nobody else can change until the transaction ends."""
        return self._batches.locked(connection, batch_id)

    def reopen(self, connection: Connection, batch: Batch, job_id: str, media_id: str) -> None:
        """Have the item of that job, which is tried again by itself, and the locked `batch` be open again."""
        ended = (ItemStatus.FAILED.value, ItemStatus.CANCELLED.value)
        # By its name, of which there is an index.
        named = (batch_items.c.batch_id == batch.id, batch_items.c.media_id == media_id)
        mine = (*named, batch_items.c.job_id == job_id)
        query = select(batch_items.c.status).where(*mine, batch_items.c.status.in_(ended))
        was = connection.execute(query).scalar_one_or_none()
        if was is None:  # not settled yet, or it has another job by now
            return
        connection.execute(batch_items.update().where(*mine).values(status=ItemStatus.OPEN.value, error=None))
        values: dict[str, Any] = {was: getattr(batch, was) - 1}
        if batch.finished_at is not None:
            self._take_key(connection, batch)
            values |= {"status": BatchStatus.RUNNING.value, "finished_at": None, "pace": []}
        self._batches.change(connection, batch, values)

    def named(self, batch_id: str, media_ids: list[str]) -> dict[str, int]:
        """See `BatchStore.named`."""
        mine = (batch_items.c.batch_id == batch_id, batch_items.c.media_id.in_(media_ids))
        query = select(batch_items.c.media_id, func.min(batch_items.c.number).label("number"))
        query = query.where(*mine, batch_items.c.job_id.is_not(None)).group_by(batch_items.c.media_id)
        with self._db.read() as connection:
            return {row.media_id: row.number for row in connection.execute(query)}

    def newest_ready(self, org: str, media_ids: list[str]) -> dict[str, Any]:
        """See `BatchStore.newest_ready`."""
        newest = (
            select(func.max(jobs.c.id))
            .where(jobs.c.org == org, jobs.c.media_id.in_(media_ids), jobs.c.status == JobStatus.READY.value)
            .group_by(jobs.c.media_id)
        )
        columns = (jobs.c.id, jobs.c.media_id, jobs.c.kind, jobs.c.source_etag, jobs.c.recipe_digest)
        query = select(*columns, jobs.c.source_uri, jobs.c.manifest_key).where(jobs.c.id.in_(newest))
        with self._db.read() as connection:
            return {row.media_id: row for row in connection.execute(query)}


def _open_key(request_hash: str, recipe_digest: str) -> str:
    """With the recipe as it is, unlike a caller's own key: an edited recipe is another command."""
    return f"{OPEN_KEY}{request_hash}:{recipe_digest}"


def _number(cursor: str) -> int:
    if not _NUMBER.fullmatch(cursor):
        raise InvalidCursor("the cursor is not one that this listing gave")
    return int(cursor)
