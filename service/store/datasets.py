"""Data sets: an uploaded file and what was found in it."""

from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import InUse, NotFound, WrongState
from service.ids import new_id
from service.store.pages import Page, page
from service.store.rows import added, found
from service.store.states import TERMINAL
from service.store.tables import Dataset, Job

NAMED_AT_MOST = 3


def insert(
    session: Session,
    *,
    name: str,
    format: str,
    sha256: str,
    size: int,
    rows: int,
    columns: list[dict[str, Any]],
    dataset_id: str | None = None,
) -> Dataset:
    """Add a data set whose bytes are the blob `sha256` (see `BlobWriter.finish`)."""
    dataset = Dataset(
        id=dataset_id or new_id(Dataset.id_prefix),
        name=name,
        format=format,
        sha256=sha256,
        size=size,
        rows=rows,
        columns=columns,
    )
    return added(session, dataset)


def get(session: Session, dataset_id: str) -> Dataset:
    """Return a data set.

    Raises:
        NotFound: There is no such data set.
    """
    return found(session.get(Dataset, dataset_id, populate_existing=True), "data set", dataset_id)


def hold(session: Session, dataset_id: str) -> Dataset:
    """Return a data set that nobody deletes before this transaction ends: for a job about to refer to it.

    Raises:
        NotFound: There is no such data set.
    """
    query = select(Dataset).where(Dataset.id == dataset_id).with_for_update(read=True)
    return found(session.scalar(query), "data set", dataset_id)


def hold_for(session: Session, job: Job) -> Dataset:
    """Return the data set of a job that is to train again, as `hold` does.

    Raises:
        WrongState: The data set was deleted.
    """
    try:
        return hold(session, job.dataset)
    except NotFound as error:
        raise WrongState(f"Job {job.id} cannot train again: its data set {job.dataset} was deleted.") from error


def list_page(session: Session, limit: int, after: str | None = None) -> Page[Dataset]:
    """Return a page of the data sets, newest first."""
    return page(session, Dataset, limit, after)


def delete(session: Session, dataset_id: str) -> None:
    """Delete a data set; its bytes are collected later, if nothing else holds them.

    Raises:
        NotFound: There is no such data set.
        InUse: A job that has not ended needs it.
    """
    found(session.scalar(select(Dataset).where(Dataset.id == dataset_id).with_for_update()), "data set", dataset_id)
    needing = select(Job.id).where(Job.dataset == dataset_id, Job.status.not_in(TERMINAL)).order_by(Job.id)
    jobs = session.scalars(needing.limit(NAMED_AT_MOST)).all()
    if jobs:
        raise InUse(f"Data set {dataset_id} is needed by jobs that have not ended, among them {', '.join(jobs)}.")
    session.execute(delete_from(Dataset).where(Dataset.id == dataset_id))
