"""Jobs, their events, and the outbox of callbacks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0001"
down_revision = None

# What the tables were when this was written: a revision must not follow later changes of cluster.jobs.tables.
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.String(27).with_variant(TIMESTAMP(timezone=True), "postgresql")
OPEN = sa.text("finished_at IS NULL")


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("org", sa.Text, nullable=False),
        sa.Column("media_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("recipe_name", sa.Text, nullable=False),
        sa.Column("recipe", JSON, nullable=False),
        sa.Column("recipe_digest", sa.Text, nullable=False),
        sa.Column("source_uri", sa.Text, nullable=False),
        sa.Column("source_etag", sa.Text, nullable=False),
        sa.Column("source_bytes", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("callback_url", sa.Text),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("idem_key", sa.Text),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("run_after", TIME, nullable=False),
        sa.Column("lease_until", TIME),
        sa.Column("lease_owner", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("progress", JSON, nullable=False),
        sa.Column("error", JSON),
        sa.Column("revision", sa.Text),
        sa.Column("manifest_key", sa.Text),
        sa.Column("report", JSON),
        sa.Column("traceparent", sa.Text),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("org", "idem_key", name="uq_jobs_org"),
    )
    op.create_index("ix_jobs_media", "jobs", ["org", "media_id", "id"])
    op.create_index("ix_jobs_org", "jobs", ["org", "id"])
    op.create_index("ix_jobs_status", "jobs", ["status", "id"])
    op.create_index("ix_jobs_open", "jobs", ["priority", "created_at", "id"], sqlite_where=OPEN, postgresql_where=OPEN)
    _create_events_and_outbox()


def _create_events_and_outbox() -> None:
    op.create_table(
        "job_events",
        sa.Column("seq", COUNT, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_job_events"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_events_job_id", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_job_events_job", "job_events", ["job_id", "seq"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", TIME),
        sa.Column("lease_until", TIME),
        sa.Column("last_status", sa.Integer),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("delivered_at", TIME),
        sa.Column("gave_up_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_outbox_job_id", ondelete="CASCADE"),
    )
    op.create_index("ix_outbox_job", "outbox", ["job_id"])
    op.create_index("ix_outbox_due", "outbox", ["next_at"])
