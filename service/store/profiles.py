"""Profiles: one of a job at most, which goes when the job does."""

from sqlalchemy.orm import Session

from service.store.blobs import BlobRef
from service.store.profile_tables import Profile


def insert(session: Session, *, job: str, attempt: int, steps: int, blob: BlobRef) -> None:
    """Add the profile of a job that has none; its bytes are a blob that was finished in the same transaction."""
    session.add(Profile(job=job, attempt=attempt, steps=steps, blob=blob.sha256, size=blob.size))
    session.flush()


def find(session: Session, job_id: str) -> Profile | None:
    """Return the profile of a job, None where it has none."""
    return session.get(Profile, job_id, populate_existing=True)
