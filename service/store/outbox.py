"""What webhooks are to be told, written in the transaction in which it happens: nothing is lost, nothing invented."""

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from service.ids import new_id
from service.store import webhooks
from service.store.rows import added
from service.store.tables import Job, JobEvent
from service.store.webhook_tables import Delivery, Webhook

STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled", "lost")
"""What is told of a job. `lost` is what befell an attempt; the state that follows from it is told beside it."""
PING = "ping"
"""The event of a delivery that somebody asked for, to see whether it arrives."""
LONGEST_TEXT = 500
"""Characters of a message that are told; the rest is in the job."""


def tell(session: Session, event: JobEvent, state: str) -> None:
    """Write a delivery of a job's event to every webhook that follows the state it led to.

    `pausing` and `cancelling` are on the way to another state, and nobody is told.
    """
    if state not in STATES:
        return
    kind = f"job.{state}"
    hooks = webhooks.told_of(session, kind, event.job)
    if not hooks:
        return
    told = {"event": kind, "job": event.job, "sequence": event.id, "created_at": event.created_at}
    told["data"] = _data(session, event)
    session.execute(insert(Delivery), [{"id": _id(), "webhook": hook, **told} for hook in hooks])


def ping(session: Session, hook: Webhook) -> Delivery:
    """Write a delivery that tells nothing but that it arrives."""
    return added(session, Delivery(id=_id(), webhook=hook.id, event=PING, data={"webhook": hook.id}))


def _id() -> str:
    return new_id(Delivery.id_prefix)


def _data(session: Session, event: JobEvent) -> dict[str, Any]:
    columns = (Job.name, Job.status, Job.model, Job.error_code, Job.error_message)
    job = session.execute(select(*columns).where(Job.id == event.job)).one()
    failed = {"code": job.error_code, "message": _cut(job.error_message or "")} if job.error_code else None
    return {
        "job": event.job,
        "name": job.name,
        "status": job.status,
        "attempt": event.attempt,
        "model": job.model,
        "error": failed,
        "message": _cut(event.message),
        "sequence": event.id,
    }


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."
