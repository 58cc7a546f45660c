"""The tables of imported weights, and of what jobs start from."""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.store.clock import now
from service.store.tables import CLUSTERED, Table


class Weights(Table):
    """An uploaded safetensors file; `tensors` has type and shape of each by its name."""

    __tablename__ = "weights"
    id_prefix: ClassVar[str] = "wts"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    tensors: Mapped[dict[str, Any]]
    parameters: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(server_default=now())


class JobWeights(Table):
    """Weights that a job starts from: they stay while the job does, whatever becomes of the model or the upload."""

    __tablename__ = "job_weights"
    __table_args__ = CLUSTERED
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), primary_key=True, index=True)
