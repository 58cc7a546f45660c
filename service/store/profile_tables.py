"""The table of profiles."""

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from service.store.clock import now
from service.store.tables import Table


class Profile(Table):
    """The trace of some steps of a job: JSON, compressed as gzip does."""

    __tablename__ = "profiles"
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int]
    steps: Mapped[int]
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(server_default=now())
