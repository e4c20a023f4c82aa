"""Without the index of all open jobs: jobs are claimed for each org by itself."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_jobs_open", "jobs")
