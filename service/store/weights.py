"""Imported weights, and the weights that jobs hold because they start from them."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.ids import new_id
from service.store.blobs import BlobRef
from service.store.pages import Page, page
from service.store.rows import added
from service.store.tables import Blob
from service.store.weight_tables import JobWeights, Weights


def insert(
    session: Session, *, name: str, blob: BlobRef, tensors: dict[str, dict[str, object]], parameters: int
) -> Weights:
    """Add weights whose bytes are a blob that was finished in the same transaction."""
    weights = Weights(
        id=new_id(Weights.id_prefix),
        name=name,
        sha256=blob.sha256,
        size=blob.size,
        tensors=tensors,
        parameters=parameters,
    )
    return added(session, weights)


def get(session: Session, weights_id: str) -> Weights:
    """Return imported weights.

    Raises:
        NotFound: There are none with this id.
    """
    weights = session.get(Weights, weights_id, populate_existing=True)
    if weights is None:
        raise NotFound(f"There are no weights {weights_id}.")
    return weights


def list_page(session: Session, limit: int, after: str | None = None) -> Page[Weights]:
    """Return a page of the imported weights, newest first."""
    return page(session, Weights, limit, after)


def delete(session: Session, weights_id: str) -> None:
    """Delete imported weights; jobs that start from them keep the bytes.

    Raises:
        NotFound: There are none with this id.
    """
    get(session, weights_id)
    session.execute(delete_from(Weights).where(Weights.id == weights_id))


def hold(session: Session, job_id: str, blobs: Collection[str]) -> None:
    """Keep weights for a job until it is deleted.

    Raises:
        NotFound: The bytes are gone: their model or upload was deleted meanwhile.
    """
    for sha256 in sorted(set(blobs)):
        present = select(Blob.sha256).where(Blob.sha256 == sha256).with_for_update(read=True, key_share=True)
        if session.scalar(present) is None:
            raise NotFound(f"The weights {sha256}, which the job is to start from, were deleted meanwhile.")
        session.execute(insert_into(JobWeights).values(job=job_id, blob=sha256))


def held_by(session: Session, job_id: str) -> Sequence[str]:
    """Return the hashes of the weights that a job starts from."""
    return session.scalars(select(JobWeights.blob).where(JobWeights.job == job_id).order_by(JobWeights.blob)).all()
