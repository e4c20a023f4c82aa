"""Rows of batches and of their items, and the batches and items that they say."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from cluster.errors import BatchMissing, FenceLost
from cluster.jobs.batch_model import Batch, BatchStatus, Item, ItemStatus
from cluster.jobs.rows import CLASSES
from cluster.jobs.tables import batches

_ID = re.compile("[0-9a-f-]{36}")


class BatchRows:
    """Reads and writes of batches inside a transaction that the caller opened."""

    @staticmethod
    def batch_of(row: Any) -> Batch:
        """The batch in a row of `batches`."""
        values = dict(row._mapping)
        del values["request_hash"]
        values["status"] = BatchStatus(values["status"])
        values["ending"] = BatchStatus(values["ending"]) if values["ending"] is not None else None
        values["priority"] = CLASSES[values["priority"]]
        return Batch(**values)

    def get(self, connection: Connection, batch_id: str, *, lock: bool = False) -> Batch:
        """The batch; BatchMissing."""
        query = select(batches).where(batches.c.id == batch_id)
        query = query.with_for_update() if lock else query
        row = connection.execute(query).one_or_none() if _ID.fullmatch(batch_id) else None
        if row is None:
            raise BatchMissing("there is no such batch", detail={"batch_id": ascii(batch_id)[:100]})
        return self.batch_of(row)

    def locked(self, connection: Connection, batch_id: str) -> Batch:
        """The batch, which nobody else can change until the transaction ends; BatchMissing."""
        return self.get(connection, batch_id, lock=True)

    def owned(self, connection: Connection, batch_id: str, fence: int) -> Batch:
        """`locked`, when `fence` is that of its lease; FenceLost otherwise."""
        batch = self.locked(connection, batch_id)
        if batch.fence != fence or batch.lease_owner is None or batch.finished_at is not None:
            detail = {"batch_id": batch.id, "fence": fence, "current_fence": batch.fence}
            raise FenceLost("the lease of this batch is somebody else's, or was given back", detail=detail)
        return batch

    def change(self, connection: Connection, batch: Batch, values: Mapping[str, Any]) -> Batch:
        """Write `values` to the locked `batch`; the batch as it is now."""
        update = batches.update().where(batches.c.id == batch.id).values(**values).returning(batches)
        return self.batch_of(connection.execute(update).one())


def item_of(row: Any) -> Item:
    """The item in a row of `batch_items`."""
    values = dict(row._mapping)
    return Item(**values | {"status": ItemStatus(values["status"])})
