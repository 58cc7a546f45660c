"""Jobs that go on from where another one ended, and checkpoints that are kept."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent", sa.String(length=32), nullable=True))
    op.create_index(op.f("ix_jobs_parent"), "jobs", ["parent"])
    op.add_column("checkpoints", sa.Column("kept", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("checkpoints", "kept")
    op.drop_index(op.f("ix_jobs_parent"), "jobs")
    op.drop_column("jobs", "parent")
