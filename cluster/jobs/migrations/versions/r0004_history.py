"""What work of each kind came to, how far estimates were off, what batches cost, and which item has a name."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
REAL: sa.Double[float] = sa.Double()


def upgrade() -> None:
    """Make three tables, a column of batches, and an index of their items."""
    op.add_column("batches", sa.Column("cost", REAL))
    op.create_table(
        "figures",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_figures"),
    )
    op.create_table(
        "rates",
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("node_kind", sa.Text, nullable=False),
        *(sa.Column(name, REAL, nullable=False) for name in ("jobs", "processes", "units", "amount")),
        sa.PrimaryKeyConstraint("what", "node_kind", name="pk_rates"),
    )
    op.create_table(
        "misses",
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("jobs", REAL, nullable=False),
        sa.PrimaryKeyConstraint("what", "step", name="pk_misses"),
    )
    op.create_index("ix_batch_items_media", "batch_items", ["batch_id", "media_id"])
