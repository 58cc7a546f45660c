"""Checkpoints: where a run can go on from.

A job keeps its last one, the one before in case that one rots, and of both the weights of the best epoch.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.ids import new_id
from service.store.blobs import BlobRef
from service.store.pages import Page, page
from service.store.rows import added
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
    """Add a checkpoint, which takes the places it claims; with a new last one, those that nobody needs any more go.

    The caller owns the job in this transaction (`jobs.own`), and `blob` comes from `BlobWriter.finish` in it.
    """
    before = _vacate(session, job, last, best)
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
    added(session, checkpoint)
    if last:
        _collect(session, job, [checkpoint.id, *before])
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


def rewind(session: Session, job: str, to: Checkpoint | None) -> None:
    """Make a checkpoint the last one, and its best epoch the best: those after it go. None: all go."""
    if to is None:
        session.execute(delete(Checkpoint).where(Checkpoint.job == job))
        return
    session.execute(delete(Checkpoint).where(Checkpoint.job == job, Checkpoint.step > to.step))
    _vacate(session, job, last=True, best=True)
    session.execute(update(Checkpoint).where(Checkpoint.id == to.id).values(last=True))
    of_best = (Checkpoint.job == job, Checkpoint.epoch == to.state.get("best_epoch"))
    session.execute(update(Checkpoint).where(*of_best, Checkpoint.step == to.state.get("best_step")).values(best=True))


def _vacate(session: Session, job: str, last: bool, best: bool) -> Sequence[str]:
    """Take the places from whoever has them; return the ids of those that were last."""
    before = session.scalars(select(Checkpoint.id).where(Checkpoint.job == job, Checkpoint.last)).all()
    for taken, place in ((last, Checkpoint.last), (best, Checkpoint.best)):
        if taken:
            session.execute(update(Checkpoint).where(Checkpoint.job == job, place).values({place: False}))
    return before


def _collect(session: Session, job: str, resumed_from: Sequence[str]) -> None:
    """Delete what is neither asked for nor among those to go on from, nor the best epoch of one of these."""
    states = session.scalars(select(Checkpoint.state).where(Checkpoint.id.in_(resumed_from))).all()
    best_steps = {state["best_step"] for state in states if state.get("best_step") is not None}
    needed = Checkpoint.id.in_(resumed_from) | Checkpoint.step.in_(best_steps)
    unasked = (~Checkpoint.last, ~Checkpoint.best, ~Checkpoint.kept)
    session.execute(delete(Checkpoint).where(Checkpoint.job == job, *unasked, ~needed))
