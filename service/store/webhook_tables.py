"""The tables of webhooks: who is to be told, and what each of them has yet to be told."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.clock import now
from service.store.tables import Table

DELIVERY_STATES = ("pending", "delivered", "failed")


class Webhook(Table):
    """An address that is told of changes of state: of every job, or of one."""

    __tablename__ = "webhooks"
    id_prefix: ClassVar[str] = "whk"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[Any]]
    # As it was given out: whoever signs needs it whole, so no hash will do.
    secret: Mapped[str] = mapped_column(String(128))
    # No foreign key: what is due is still delivered when the job is gone.
    job: Mapped[str | None] = mapped_column(String(32), index=True)
    created_at: Mapped[float] = mapped_column(server_default=now())


class Delivery(Table):
    """One message to one webhook, written in the transaction of what it tells (a transactional outbox)."""

    __tablename__ = "webhook_deliveries"
    id_prefix: ClassVar[str] = "dlv"
    __table_args__ = (
        CheckConstraint(f"state IN {DELIVERY_STATES}", name="state"),
        Index("ix_webhook_deliveries_state_next_at", "state", "next_at"),
        Index("ix_webhook_deliveries_webhook_id", "webhook", "id"),
        Index("ix_webhook_deliveries_webhook_job", "webhook", "job", "sequence"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    webhook: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(32))
    job: Mapped[str | None] = mapped_column(String(32))
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    """Number of the job's event; deliveries of one job to one webhook go out in this order."""
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What is told, as it was when it happened."""
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    # Raised by a claim to the end of its lease, so that whoever dies while sending leaves a delivery that is due again.
    next_at: Mapped[float | None] = mapped_column(server_default=now())
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(server_default=now())
    finished_at: Mapped[float | None]
