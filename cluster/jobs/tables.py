"""The tables, once for both databases. A change here needs a revision under migrations/versions; a test compares."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = MetaData(
    # Constraints get the same names in both databases, so that migrations can name them.
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: timestamptz in PostgreSQL, text that sorts by time in SQLite, which has no such type."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(String(27))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """`value`, which must know its zone, as the database wants it."""
        if value is None or dialect.name == "postgresql":
            return value
        return utc_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """The stored moment, in UTC."""
        if value is None:
            return None
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)


def utc_text(moment: datetime) -> str:
    """27 characters that sort by time: 2026-11-21T08:25:28.040213Z."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


_json = JSON().with_variant(JSONB(), "postgresql")
# SQLite counts by itself in INTEGER PRIMARY KEY columns only.
_count = BigInteger().with_variant(Integer(), "sqlite")

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", Text, nullable=False),
    Column("media_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("recipe_name", Text, nullable=False),
    Column("recipe", _json, nullable=False),
    Column("recipe_digest", Text, nullable=False),
    Column("source_uri", Text, nullable=False),
    Column("source_etag", Text, nullable=False),
    Column("source_bytes", BigInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),  # cluster.slots.PRIORITIES
    Column("callback_url", Text),
    Column("metadata", _json, nullable=False),
    Column("idem_key", Text),
    Column("request_hash", String(64), nullable=False),
    Column("status", Text, nullable=False),
    Column("run_after", UtcTime, nullable=False),
    Column("lease_until", UtcTime),
    Column("lease_owner", Text),
    Column("fence", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("progress", _json, nullable=False),
    Column("error", _json),
    Column("revision", Text),
    Column("manifest_key", Text),
    Column("report", _json),
    Column("traceparent", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    # Whose recipe, of 2 to 5 KB, is then the job's: it is kept once, not a hundred thousand times; a tiny picture's job
    # has less than 1 KB.
    Column("batch_id", String(36)),
    UniqueConstraint("org", "idem_key"),
    Index("ix_jobs_media", "org", "media_id", "id"),
    Index("ix_jobs_org", "org", "id"),
    Index("ix_jobs_status", "status", "id"),
    # claim() walks this in order: each org is claimed for by itself, so that no org's thousand jobs hide another's one.
    # Ended jobs, the bulk of a year, are not in it. Not "status IN (…)": SQLite would rather take the index on the
    # status, and sort all that waits for every few jobs.
    Index(
        "ix_jobs_open_org",
        "priority",
        "org",
        "created_at",
        "id",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)

policies = Table(
    "policies",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),  # the highest holds
    Column("body", _json, nullable=False),  # cluster.policy.Policy
    Column("changed_at", UtcTime, nullable=False),
)

job_events = Table(
    "job_events",
    metadata,
    Column("seq", _count, primary_key=True, autoincrement=True),
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", _json, nullable=False),
    Index("ix_job_events_job", "job_id", "seq"),
    sqlite_autoincrement=True,  # a seq is never given twice
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("event", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("body", _json, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcTime),  # NULL when nothing is to be sent any more
    Column("lease_until", UtcTime),
    Column("last_status", Integer),
    Column("created_at", UtcTime, nullable=False),
    Column("delivered_at", UtcTime),
    Column("gave_up_at", UtcTime),
    Index("ix_outbox_job", "job_id"),
    Index("ix_outbox_due", "next_at"),
)

# What ended jobs did, until it is added to `rates` and `misses`: adding it at once would make all that end wait for one
# another's commit, because they change the same few rows.
figures = Table(
    "figures",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("body", _json, nullable=False),  # cluster.figures
)

rates = Table(
    "rates",
    metadata,
    Column("what", Text, primary_key=True),  # pipelines.loads
    Column("node_kind", Text, primary_key=True),
    Column("jobs", Double, nullable=False),  # sums; all are halved now and then, so that the past fades
    Column("processes", Double, nullable=False),
    Column("units", Double, nullable=False),
    Column("amount", Double, nullable=False),
)

misses = Table(
    "misses",
    metadata,
    Column("what", Text, primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),  # how far off, see pipelines.rates
    Column("jobs", Double, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", Text, nullable=False),
    Column("idem_key", Text),
    Column("request_hash", String(64), nullable=False),
    Column("source_uri", Text, nullable=False),
    Column("source_etag", Text),  # of a manifest
    Column("recipe_name", Text, nullable=False),
    Column("recipe", _json, nullable=False),
    Column("recipe_digest", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("on_error", Text, nullable=False),
    Column("max_items", BigInteger),
    Column("shard_rows", Integer, nullable=False),
    Column("results_uri", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("ending", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("cursor", _json, nullable=False),
    Column("total", BigInteger),
    Column("items", BigInteger, nullable=False),
    Column("waiting", BigInteger, nullable=False),
    Column("ready", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("current", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("pace", _json, nullable=False),
    Column("cost", Double),  # of the jobs that became ready, in the currency of the recipe
    Column("lease_until", UtcTime),
    Column("lease_owner", Text),
    Column("fence", BigInteger, nullable=False),
    Column("error", _json),
    Column("created_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    UniqueConstraint("org", "idem_key"),
    Index("ix_batches_org", "org", "id"),
    Index(
        "ix_batches_open",
        "id",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", String(36), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("line", BigInteger, nullable=False),
    Column("source_uri", Text),
    Column("media_id", Text),
    Column("asked", _json, nullable=False),  # what else its line said; for those that have no job yet
    Column("job_id", String(36)),
    Column("status", Text, nullable=False),
    Column("error", _json),
    # Open items, a window of hundreds among millions, are found by this too.
    Index("ix_batch_items_status", "batch_id", "status", "number"),
    # Which item has a name already, and which one a job is of.
    Index("ix_batch_items_media", "batch_id", "media_id"),
)
