"""Batches, their items, and which batch a job is of."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0002"
down_revision = "0001"

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.String(27).with_variant(TIMESTAMP(timezone=True), "postgresql")
OPEN = sa.text("finished_at IS NULL")


def upgrade() -> None:
    """Make two tables, and a column of jobs.

    Without a foreign key: SQLite could add one only by dropping the table, and with it, by their own foreign keys, all
    events and callbacks.
    """
    op.add_column("jobs", sa.Column("batch_id", sa.String(36)))
    op.create_table(
        "batches",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("org", sa.Text, nullable=False),
        sa.Column("idem_key", sa.Text),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("source_uri", sa.Text, nullable=False),
        sa.Column("source_etag", sa.Text),
        sa.Column("recipe_name", sa.Text, nullable=False),
        sa.Column("recipe", JSON, nullable=False),
        sa.Column("recipe_digest", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("on_error", sa.Text, nullable=False),
        sa.Column("max_items", sa.BigInteger),
        sa.Column("shard_rows", sa.Integer, nullable=False),
        sa.Column("results_uri", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("ending", sa.Text),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("cursor", JSON, nullable=False),
        sa.Column("total", sa.BigInteger),
        sa.Column("items", sa.BigInteger, nullable=False),
        sa.Column("waiting", sa.BigInteger, nullable=False),
        sa.Column("ready", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.BigInteger, nullable=False),
        sa.Column("current", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.BigInteger, nullable=False),
        sa.Column("pace", JSON, nullable=False),
        sa.Column("lease_until", TIME),
        sa.Column("lease_owner", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("error", JSON),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.UniqueConstraint("org", "idem_key", name="uq_batches_org"),
    )
    op.create_index("ix_batches_org", "batches", ["org", "id"])
    op.create_index("ix_batches_open", "batches", ["id"], sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.String(36), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("line", sa.BigInteger, nullable=False),
        sa.Column("source_uri", sa.Text),
        sa.Column("media_id", sa.Text),
        sa.Column("asked", JSON, nullable=False),
        sa.Column("job_id", sa.String(36)),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", JSON),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_items"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_batch_items_batch_id", ondelete="CASCADE"),
    )
    op.create_index("ix_batch_items_status", "batch_items", ["batch_id", "status", "number"])
