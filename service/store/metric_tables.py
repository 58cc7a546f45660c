"""The table of measured values."""

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.store.clock import now
from service.store.tables import CLUSTERED, Table


class Metric(Table):
    """One measured value; null where it was not finite. `low` and `high` are the ends of what `value` is a mean of."""

    __tablename__ = "metrics"
    __table_args__ = CLUSTERED
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    replica: Mapped[int] = mapped_column(primary_key=True, server_default="-1")
    """Number of the replica; -1: of a job that has one, or the mean of several."""
    split: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    epoch: Mapped[int]
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    at: Mapped[float] = mapped_column(server_default=now())
