"""The order of the queue: submitters and their turns, priorities, and the devices that jobs ask for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

QUEUED = sa.text("status = 'queued'")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("submitter", sa.String(length=200), server_default="anonymous", nullable=False))
    op.add_column("jobs", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("device", sa.String(length=8), server_default="auto", nullable=False))
    op.execute(f"UPDATE jobs SET device = COALESCE({_asked_for()}, 'auto')")
    op.create_index("ix_jobs_submitter_id", "jobs", ["submitter", "id"])
    columns = ["status", "submitter", "priority", "device", "id"]
    op.create_index("ix_jobs_queue", "jobs", columns, sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.add_column("workers", sa.Column("device", sa.String(length=8), server_default="cpu", nullable=False))
    op.create_table(
        "turns",
        sa.Column("submitter", sa.String(length=200), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("submitter", name=op.f("pk_turns")),
        sa.UniqueConstraint("number", name=op.f("uq_turns_number")),
    )


def downgrade() -> None:
    op.drop_table("turns")
    op.drop_column("workers", "device")
    op.drop_index("ix_jobs_queue", "jobs")
    op.drop_index("ix_jobs_submitter_id", "jobs")
    for name in ("device", "priority", "submitter"):
        op.drop_column("jobs", name)


def _asked_for() -> str:
    """Return the SQL of the device in a job's specification."""
    if op.get_bind().dialect.name == "postgresql":
        return "spec #>> '{training,device}'"
    return "json_extract(spec, '$.training.device')"
