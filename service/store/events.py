"""The story of a job, line by line."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store import outbox
from service.store.tables import Job, JobEvent

Level = Literal["info", "warn", "error"]


def add(
    session: Session,
    job_id: str,
    type: str,
    message: str,
    *,
    attempt: int = 0,
    level: Level = "info",
    data: dict[str, Any] | None = None,
    tells: str | None = None,
) -> None:
    """Append an event; `tells` is the state it led to, of which webhooks are told in the same transaction.

    The job's row is locked until the end of the transaction, so that the events of a job appear in the order of
    their ids: whoever has read up to event 7 never misses a sixth that is committed later.
    """
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update(key_share=True))
    event = JobEvent(job=job_id, attempt=attempt, level=level, type=type, message=message, data=data)
    session.add(event)
    session.flush()
    if tells is not None:
        outbox.tell(session, event, tells)


def last(session: Session, job_id: str, type: str) -> dict[str, Any] | None:
    """Return the data of the job's newest event of a type; None where there is none."""
    query = select(JobEvent.data).where(JobEvent.job == job_id, JobEvent.type == type)
    return session.scalar(query.order_by(JobEvent.id.desc()).limit(1))


def since(session: Session, job_id: str, after: int = 0, limit: int = 1000) -> Sequence[JobEvent]:
    """Return the events of a job that follow event `after`, oldest first."""
    query = select(JobEvent).where(JobEvent.job == job_id, JobEvent.id > after)
    return session.scalars(query.order_by(JobEvent.id).limit(limit)).all()
