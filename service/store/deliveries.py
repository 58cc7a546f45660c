"""Deliveries to webhooks: which are due, who sends them, what came of it.

A delivery is due while it is pending, its time has come, and no earlier one of the same job to the same webhook is
pending. Who claims it may send it until the lease ends; every later write names the attempt, so that somebody whose
lease ran out writes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from service.errors import NotFound
from service.store.clock import now
from service.store.pages import Page, page
from service.store.webhook_tables import Delivery, Webhook

KEPT_SECONDS = 7 * 86_400.0
"""How long a delivery that has ended is remembered."""
PURGE_AT_ONCE = 1000


class Claimed(NamedTuple):
    """A delivery that is to be sent now, and where to."""

    delivery: Delivery
    webhook: Webhook


def due(session: Session, limit: int, busy: Collection[str] = ()) -> Sequence[str]:
    """Return at most `limit` webhooks, none of them `busy`, that a delivery is due to, the longest waiting first."""
    query = select(Delivery.webhook).where(*_is_due(), Delivery.webhook.not_in(busy)).group_by(Delivery.webhook)
    return session.scalars(query.order_by(func.min(Delivery.next_at)).limit(limit)).all()


def claim(session: Session, webhook_id: str, lease_seconds: float) -> Claimed | None:
    """Take the delivery to a webhook that has waited longest, in one conditional UPDATE; None if none is due."""
    first = select(Delivery.id).where(Delivery.webhook == webhook_id, *_is_due()).order_by(Delivery.next_at).limit(1)
    chosen = Delivery.id == first.with_for_update(skip_locked=True).scalar_subquery()
    taken = (
        update(Delivery)
        .where(chosen, Delivery.state == "pending")
        .values(attempts=Delivery.attempts + 1, next_at=now() + lease_seconds)
        .returning(Delivery)
    )
    delivery = session.scalar(taken, execution_options={"populate_existing": True, "synchronize_session": False})
    return Claimed(delivery, session.get_one(Webhook, webhook_id)) if delivery is not None else None


def delivered(session: Session, delivery_id: str, attempt: int, status: int) -> bool:
    """Note that the receiver took it. False if the attempt no longer holds the delivery."""
    values = {"state": "delivered", "next_at": None, "finished_at": now()}
    return _note(session, delivery_id, attempt, status, None, values)


def refused(
    session: Session, delivery_id: str, attempt: int, status: int | None, error: str, pause_seconds: float | None
) -> bool:
    """Note that the receiver did not take it; try again after a pause, or never where that is None.

    False if the attempt no longer holds the delivery.
    """
    given_up = {"state": "failed", "next_at": None, "finished_at": now()}
    values = given_up if pause_seconds is None else {"next_at": now() + pause_seconds}
    return _note(session, delivery_id, attempt, status, error, values)


def get(session: Session, webhook_id: str, delivery_id: str) -> Delivery:
    """Return a delivery of a webhook.

    Raises:
        NotFound: There is no such delivery.
    """
    delivery = session.get(Delivery, delivery_id, populate_existing=True)
    if delivery is None or delivery.webhook != webhook_id:
        raise NotFound(f"There is no delivery {delivery_id} of the webhook {webhook_id}.")
    return delivery


def list_page(session: Session, webhook_id: str, limit: int, after: str | None = None) -> Page[Delivery]:
    """Return a page of the deliveries to a webhook, newest first."""
    return page(session, Delivery, limit, after, Delivery.webhook == webhook_id)


def purge(session: Session, older_than: float = KEPT_SECONDS) -> int:
    """Forget some of the deliveries that ended long ago; return how many."""
    old = select(Delivery.id).where(Delivery.state != "pending", Delivery.finished_at < now() - older_than)
    gone = delete(Delivery).where(Delivery.id.in_(old.limit(PURGE_AT_ONCE))).returning(Delivery.id)
    return len(session.scalars(gone, execution_options={"synchronize_session": False}).all())


def _is_due() -> tuple[ColumnElement[bool], ...]:
    earlier = aliased(Delivery)
    ahead = select(earlier.id).where(
        earlier.webhook == Delivery.webhook,
        earlier.job == Delivery.job,
        earlier.state == "pending",
        earlier.sequence < Delivery.sequence,
    )
    return Delivery.state == "pending", Delivery.next_at <= now(), ~ahead.exists()


def _note(
    session: Session,
    delivery_id: str,
    attempt: int,
    status: int | None,
    error: str | None,
    values: Mapping[str, object],
) -> bool:
    held = (Delivery.id == delivery_id, Delivery.attempts == attempt, Delivery.state == "pending")
    noted = update(Delivery).where(*held).values(last_status=status, last_error=error, **values).returning(Delivery.id)
    return session.scalar(noted, execution_options={"synchronize_session": False}) is not None
