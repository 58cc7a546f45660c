"""Jobs that go on from where another one ended."""

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


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_parent"), "jobs")
    op.drop_column("jobs", "parent")
