"""The policies of classes and orgs, and the index by which each org's jobs are found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0003"
down_revision = "0002"

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.String(27).with_variant(TIMESTAMP(timezone=True), "postgresql")
OPEN = sa.text("finished_at IS NULL")


def upgrade() -> None:
    """Make the table and the index."""
    op.create_table(
        "policies",
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_policies"),
    )
    columns = ["priority", "org", "created_at", "id"]
    op.create_index("ix_jobs_open_org", "jobs", columns, sqlite_where=OPEN, postgresql_where=OPEN)
