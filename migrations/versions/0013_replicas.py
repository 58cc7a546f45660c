"""Measured values of networks that train together, their means and extremes, and models of several networks."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from service.store.clock import now

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KEY = ["job", "split", "name", "step"]
KEPT = "job, split, name, step, epoch, value, at"


def upgrade() -> None:
    fresh: list[sa.Column[Any]] = [
        sa.Column("replica", sa.Integer(), server_default="-1", nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
    ]
    _change(["job", "replica", *KEY[1:]], fresh, [])
    op.add_column("models", sa.Column("members", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("models", "members")
    op.execute("DELETE FROM metrics WHERE replica <> -1")
    _change(KEY, [], ["replica", "low", "high"])


def _change(key: list[str], fresh: list[sa.Column[Any]], gone: list[str]) -> None:
    """Give the table another primary key, with more columns or without some."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("pk_metrics", "metrics", type_="primary")
        for column in fresh:
            op.add_column("metrics", column)
        for name in gone:
            op.drop_column("metrics", name)
        op.create_primary_key("pk_metrics", "metrics", key)
        return
    # Rows lie in the order of the key, which SQLite cannot change in place.
    op.create_table(
        "metrics_anew",
        sa.Column("job", sa.String(length=32), nullable=False),
        *(column for column in fresh if column.name == "replica"),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        *(column for column in fresh if column.name != "replica"),
        sa.Column("at", sa.Double(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_metrics_job_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_metrics")),
        sqlite_with_rowid=False,
    )
    op.execute(f"INSERT INTO metrics_anew ({KEPT}) SELECT {KEPT} FROM metrics")
    op.drop_table("metrics")
    op.rename_table("metrics_anew", "metrics")
