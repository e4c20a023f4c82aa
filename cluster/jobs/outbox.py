"""Callbacks that are owed: rows written with the job's end, handed to whoever sends them."""

from typing import Any

from sqlalchemy import func, or_, select

from cluster.jobs.database import Database
from cluster.jobs.model import Delivery
from cluster.jobs.tables import outbox


class SqlOutbox:
    """The part of `JobStore` about callbacks."""

    _db: Database

    def due_deliveries(self, limit: int, lease_s: float) -> list[Delivery]:
        """See `JobStore.due_deliveries`."""
        free = or_(outbox.c.lease_until.is_(None), outbox.c.lease_until < self._db.now())
        due = (
            select(outbox.c.id).where(outbox.c.next_at <= self._db.now(), free).order_by(outbox.c.next_at).limit(limit)
        )
        if self._db.finds_nothing(due):
            return []
        with self._db.write() as connection:
            ids = list(connection.execute(due.with_for_update(skip_locked=True)).scalars())
            taken = connection.execute(
                outbox.update()
                .where(outbox.c.id.in_(ids))
                # Counted when handed out: a sender that dies of a delivery does not get it for ever.
                .values(attempts=outbox.c.attempts + 1, lease_until=self._db.now(lease_s))
                .returning(outbox)
            ).all()
        return sorted((_delivery(row) for row in taken), key=lambda d: d.id)

    def callbacks_owed(self) -> tuple[int, float]:
        """See `JobStore.callbacks_owed`."""
        query = select(func.count(), func.min(outbox.c.next_at)).where(outbox.c.next_at.is_not(None))
        with self._db.read() as connection:
            now = connection.execute(select(self._db.now())).scalar_one()
            count, due = connection.execute(query).one()
        return count, max(0.0, (now - due).total_seconds()) if due is not None else 0.0

    def delivered(self, delivery_id: str, http_status: int) -> None:
        """See `JobStore.delivered`."""
        done = {"delivered_at": self._db.now(), "last_status": http_status, "next_at": None, "lease_until": None}
        with self._db.write() as connection:
            connection.execute(outbox.update().where(outbox.c.id == delivery_id).values(done))

    def delivery_failed(self, delivery_id: str, http_status: int | None, retry_in_s: float | None) -> None:
        """See `JobStore.delivery_failed`; says nothing about a delivery that arrived by another try."""
        values: dict[str, Any] = {"last_status": http_status, "lease_until": None}
        if retry_in_s is None:
            values |= {"next_at": None, "gave_up_at": self._db.now()}
        else:
            values |= {"next_at": self._db.now(retry_in_s)}
        with self._db.write() as connection:
            connection.execute(
                outbox.update().where(outbox.c.id == delivery_id, outbox.c.delivered_at.is_(None)).values(values)
            )


def _delivery(row: Any) -> Delivery:
    return Delivery(row.id, row.job_id, row.event, row.url, row.body, row.attempts, row.created_at)
