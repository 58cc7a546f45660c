"""Checkpoints: where a run can go on from. A job keeps its last and its best one."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.ids import new_id
from service.store.blobs import BlobRef
from service.store.pages import Page, page
from service.store.tables import Checkpoint


def insert(
    session: Session,
    *,
    job: str,
    attempt: int,
    epoch: int,
    step: int,
    blob: BlobRef,
    state: dict[str, Any],
    metrics: dict[str, Any],
    last: bool = True,
    best: bool = False,
    kept: bool = False,
) -> Checkpoint:
    """Add a checkpoint, which takes the places it claims: what is then neither last, best nor kept goes.

    The caller owns the job in this transaction (`jobs.own`), and `blob` comes from `BlobWriter.finish` in it.
    """
    _vacate(session, job, last, best)
    checkpoint = Checkpoint(
        id=new_id(Checkpoint.id_prefix),
        job=job,
        attempt=attempt,
        epoch=epoch,
        step=step,
        last=last,
        best=best,
        kept=kept,
        blob=blob.sha256,
        size=blob.size,
        state=state,
        metrics=metrics,
    )
    session.add(checkpoint)
    session.flush()
    session.refresh(checkpoint)
    return checkpoint


def get(session: Session, checkpoint_id: str, job: str | None = None) -> Checkpoint:
    """Return a checkpoint, of that job if one is named.

    Raises:
        NotFound: There is no such checkpoint, or it is another job's.
    """
    checkpoint = session.get(Checkpoint, checkpoint_id, populate_existing=True)
    if checkpoint is None or job not in (None, checkpoint.job):
        raise NotFound(f"There is no checkpoint {checkpoint_id}" + (f" of job {job}." if job else "."))
    return checkpoint


def list_page(session: Session, job: str, limit: int, after: str | None = None) -> Page[Checkpoint]:
    """Return a page of the checkpoints of a job, newest first."""
    return page(session, Checkpoint, limit, after, Checkpoint.job == job)


def resumable(session: Session, job: str) -> Sequence[Checkpoint]:
    """Return the checkpoints of a job, the furthest first: the order in which to try to go on."""
    furthest = select(Checkpoint).where(Checkpoint.job == job).order_by(Checkpoint.step.desc(), Checkpoint.id.desc())
    return session.scalars(furthest).all()


def last(session: Session, job: str) -> Checkpoint | None:
    """Return the checkpoint a run goes on from, if there is one."""
    return session.scalar(select(Checkpoint).where(Checkpoint.job == job, Checkpoint.last))


def best(session: Session, job: str) -> Checkpoint | None:
    """Return the checkpoint of the best epoch, if there is one."""
    return session.scalar(select(Checkpoint).where(Checkpoint.job == job, Checkpoint.best))


def delete_after(session: Session, job: str, step: int) -> None:
    """Delete the checkpoints after a step, e.g. one that proved corrupt."""
    session.execute(delete(Checkpoint).where(Checkpoint.job == job, Checkpoint.step > step))


def _vacate(session: Session, job: str, last: bool, best: bool) -> None:
    for taken, place in ((last, Checkpoint.last), (best, Checkpoint.best)):
        if taken:
            session.execute(update(Checkpoint).where(Checkpoint.job == job, place).values({place: False}))
    homeless = (~Checkpoint.last, ~Checkpoint.best, ~Checkpoint.kept)
    session.execute(delete(Checkpoint).where(Checkpoint.job == job, *homeless))
