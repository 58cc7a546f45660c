"""The place of a job in the queue, as answers need it."""

from sqlalchemy.orm import Session

from service.api.deps import Backend
from service.store import waiting


def place_of(session: Session, service: Backend, job_id: str) -> waiting.Place | None:
    """Return where a job stands in the queue, None unless it is queued."""
    return waiting.places(session, [job_id], service.limits).get(job_id)
