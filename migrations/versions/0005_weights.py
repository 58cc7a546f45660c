"""Imported weights, and the weights that jobs start from."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from service.store.clock import now

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "weights",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("tensors", sa.JSON(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_weights_sha256_blobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_weights")),
    )
    op.create_index(op.f("ix_weights_sha256"), "weights", ["sha256"])

    op.create_table(
        "job_weights",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name=op.f("fk_job_weights_blob_blobs")),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_job_weights_job_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "blob", name=op.f("pk_job_weights")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_job_weights_blob"), "job_weights", ["blob"])


def downgrade() -> None:
    op.drop_table("job_weights")
    op.drop_table("weights")
