"""Models that came as files, and whose job is elsewhere."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _let_job_be_null(True)


def downgrade() -> None:
    # What has no job cannot be kept where every model has one, and aliases would lead nowhere.
    op.execute("DELETE FROM aliases WHERE model IN (SELECT id FROM models WHERE job IS NULL)")
    op.execute("DELETE FROM models WHERE job IS NULL")
    _let_job_be_null(False)


def _let_job_be_null(nullable: bool) -> None:
    # SQLite changes a column by making the table anew, and drops no table that others refer to.
    aliases = sa.Table("aliases", sa.MetaData(), autoload_with=op.get_bind())
    rows = [dict(row) for row in op.get_bind().execute(sa.select(aliases)).mappings()]
    op.execute(aliases.delete())
    with op.batch_alter_table("models") as table:
        table.alter_column("job", existing_type=sa.String(length=32), nullable=nullable)
    if rows:
        op.bulk_insert(aliases, rows)
