"""Webhooks: who is to be told of which changes of state."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.ids import new_id
from service.store.pages import Page, page
from service.store.rows import added, found
from service.store.webhook_tables import Webhook


def insert(session: Session, *, url: str, events: Sequence[str], secret: str, job: str | None) -> Webhook:
    """Add a webhook; it is told of what happens from here on."""
    hook = Webhook(id=new_id(Webhook.id_prefix), url=url, events=list(events), secret=secret, job=job)
    return added(session, hook)


def get(session: Session, webhook_id: str) -> Webhook:
    """Return a webhook.

    Raises:
        NotFound: There is no such webhook.
    """
    return found(session.get(Webhook, webhook_id, populate_existing=True), "webhook", webhook_id)


def list_page(session: Session, limit: int, after: str | None = None) -> Page[Webhook]:
    """Return a page of the webhooks, newest first."""
    return page(session, Webhook, limit, after)


def told_of(session: Session, event: str, job_id: str) -> Sequence[str]:
    """Return the webhooks that follow an event of a job, and keep them from being deleted in this transaction.

    One that is being deleted meanwhile is waited for, so that a delivery to it can never fail the change of state.
    """
    query = select(Webhook.id, Webhook.events).where(or_(Webhook.job.is_(None), Webhook.job == job_id))
    rows: Sequence[Any] = session.execute(query.order_by(Webhook.id).with_for_update(read=True, key_share=True)).all()
    return [row.id for row in rows if event in row.events]


def delete(session: Session, webhook_id: str) -> None:
    """Delete a webhook with all of its deliveries.

    Raises:
        NotFound: There is no such webhook.
    """
    if not session.scalar(delete_from(Webhook).where(Webhook.id == webhook_id).returning(Webhook.id)):
        raise NotFound(f"There is no webhook {webhook_id}.")
