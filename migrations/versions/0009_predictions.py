"""Predictions of whole files, made later."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from service.store.clock import now

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), server_default="queued", nullable=False),
        sa.Column("model", sa.String(length=32), nullable=False),
        sa.Column("dataset", sa.String(length=32), nullable=True),
        sa.Column("data_sha256", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("columns", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("input", sa.String(length=64), nullable=True),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("lease_expires_at", sa.Double(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rows_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rows_per_second", sa.Double(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("errors", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("result", sa.String(length=64), nullable=True),
        sa.Column("result_size", sa.BigInteger(), nullable=True),
        sa.Column("about", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_predictions_status"),
        ),
        sa.ForeignKeyConstraint(["input"], ["blobs.sha256"], name=op.f("fk_predictions_input_blobs")),
        sa.ForeignKeyConstraint(["result"], ["blobs.sha256"], name=op.f("fk_predictions_result_blobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
    )
    op.create_index("ix_predictions_status_id", "predictions", ["status", "id"])
    op.create_index(op.f("ix_predictions_model"), "predictions", ["model"])
    op.create_index(op.f("ix_predictions_input"), "predictions", ["input"])
    op.create_index(op.f("ix_predictions_result"), "predictions", ["result"])

    op.create_table(
        "prediction_parts",
        sa.Column("prediction", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name=op.f("fk_prediction_parts_blob_blobs")),
        sa.ForeignKeyConstraint(
            ["prediction"],
            ["predictions.id"],
            name=op.f("fk_prediction_parts_prediction_predictions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("prediction", "number", name=op.f("pk_prediction_parts")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_prediction_parts_blob"), "prediction_parts", ["blob"])


def downgrade() -> None:
    op.drop_table("prediction_parts")
    op.drop_table("predictions")
