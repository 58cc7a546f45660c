"""The tables of predictions that are made later, of a whole file."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.clock import now
from service.store.tables import CLUSTERED, Table

PREDICTION_STATES = ("queued", "running", "succeeded", "failed", "cancelled")


class Prediction(Table):
    """All rows of a data set or an upload that a model is to predict. `attempt` fences, as with jobs."""

    __tablename__ = "predictions"
    id_prefix: ClassVar[str] = "prd"
    __table_args__ = (
        CheckConstraint(f"status IN {PREDICTION_STATES}", name="status"),
        Index("ix_predictions_status_id", "status", "id"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    status: Mapped[str] = mapped_column(String(16), server_default="queued")
    # No foreign keys: once it has ended it outlives both, and still names them.
    model: Mapped[str] = mapped_column(String(32), index=True)
    dataset: Mapped[str | None] = mapped_column(String(32))
    data_sha256: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(16))
    columns: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    """Profiles of a data set's columns; null for an upload, which has none."""
    # Holds the bytes until it has ended, whatever becomes of the data set.
    input: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    options: Mapped[dict[str, Any]]
    attempt: Mapped[int] = mapped_column(server_default="0")
    losses: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    """What befell the attempts that ended without a word."""
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_expires_at: Mapped[float | None]
    rows: Mapped[int] = mapped_column(BigInteger)
    rows_done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    rows_per_second: Mapped[float | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    errors: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    result: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    result_size: Mapped[int | None] = mapped_column(BigInteger)
    about: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What all of its predictions rest on: samples, seed, layers that draw masks."""
    created_at: Mapped[float] = mapped_column(server_default=now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class PredictionPart(Table):
    """Predictions of some rows, as a Parquet file: what an attempt goes on behind. Gone once the whole is there."""

    __tablename__ = "prediction_parts"
    __table_args__ = CLUSTERED
    prediction: Mapped[str] = mapped_column(ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    rows: Mapped[int] = mapped_column(BigInteger)
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
