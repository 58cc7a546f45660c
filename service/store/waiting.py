"""Where a job stands in the queue."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from service.store.tables import Job


def positions(session: Session, job_ids: Sequence[str]) -> dict[str, int]:
    """Return the places in the queue, 1 being next, of those of these jobs that wait."""
    ahead = aliased(Job)
    place = select(func.count()).where(ahead.status == "queued", ahead.id <= Job.id).scalar_subquery()
    rows = session.execute(select(Job.id, place).where(Job.id.in_(job_ids), Job.status == "queued"))
    return dict(rows.tuples().all())
