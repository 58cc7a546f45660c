"""Profiles of jobs, and where their time goes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from service.store.clock import now

revision: str = "0012"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "profiles",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name=op.f("fk_profiles_blob_blobs")),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_profiles_job_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_profiles")),
    )
    op.create_index(op.f("ix_profiles_blob"), "profiles", ["blob"])
    op.add_column("jobs", sa.Column("timings", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "timings")
    op.drop_table("profiles")
