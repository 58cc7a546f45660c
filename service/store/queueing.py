"""What the order of the queue follows from, read from the tables; and who may join the queue."""

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import ColumnElement, delete, func, literal_column, select, text
from sqlalchemy.orm import Session

from service.devices import suiting
from service.errors import QueueFull
from service.store.limits import QueueLimits
from service.store.states import OWNED
from service.store.tables import Job, Turn
from service.store.turns import Line, Turns
from service.store.upserts import upsert

CLAIMS, ARRIVALS = 7_245_187_923_101, 7_245_187_923_102
"""The PostgreSQL advisory locks by which claims, and jobs that join the queue, take turns."""
# Said in so many words and not as a parameter: only so can the index of the queued jobs alone be used.
WAITING: ColumnElement[bool] = Job.status == literal_column("'queued'")


def wait_for_turn(session: Session, lock: int) -> None:
    """Wait until no other transaction holds the lock, and hold it to the end of this one.

    On SQLite every transaction that writes has had to wait for its turn already.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def suits(kind: str | None) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that a queued job can be claimed by a slot of this kind; of any for None."""
    return (WAITING,) if kind is None else (WAITING, Job.device.in_(suiting(kind)))


def turns(session: Session, kind: str | None, limits: QueueLimits) -> Turns:
    """Return the order in which slots of this kind claim jobs."""
    lines = (
        select(Job.submitter, Job.priority, func.min(Job.id).label("first"), func.count().label("jobs"))
        .where(*suits(kind))
        .group_by(Job.submitter, Job.priority)
        .subquery()
    )
    found = session.execute(select(lines, Turn.number).outerjoin(Turn, Turn.submitter == lines.c.submitter)).all()
    served = {row.submitter: row.number for row in found if row.number is not None}
    waiting = [Line(row.submitter, row.priority, row.first, row.jobs) for row in found]
    return Turns(waiting, running(session), served, limits)


def running(session: Session) -> Mapping[str, int]:
    """Return how many jobs of each submitter workers own."""
    owned = select(Job.submitter, func.count()).where(Job.status.in_(OWNED)).group_by(Job.submitter)
    return Counter(dict(session.execute(owned).tuples().all()))


def next_line(session: Session, kind: str | None, limits: QueueLimits) -> Line | None:
    """Return the line whose first job is claimed next by a slot of this kind, if any may be."""
    return next(turns(session, kind, limits).claimable(), None)


def note_turn(session: Session, submitter: str) -> None:
    """Remember that the submitter was served just now."""
    number = select(func.coalesce(func.max(Turn.number), 0) + 1).scalar_subquery()
    fresh = upsert(session, Turn).values(submitter=submitter, number=number)
    session.execute(fresh.on_conflict_do_update(index_elements=["submitter"], set_={"number": number}))


def forget_turns(session: Session) -> None:
    """Forget the turns of submitters who have no job left."""
    session.execute(delete(Turn).where(~select(Job.id).where(Job.submitter == Turn.submitter).exists()))


def admit(session: Session, submitter: str, limits: QueueLimits) -> None:
    """See that one more job of the submitter may join the queue, in the transaction in which it does.

    Raises:
        QueueFull: As many jobs wait as may, of all or of this submitter.
    """
    if not limits.queued and not limits.queued_each:
        return
    wait_for_turn(session, ARRIVALS)
    waiting = select(func.count()).where(WAITING)
    if limits.queued and (session.scalar(waiting) or 0) >= limits.queued:
        raise QueueFull(f"Jobs queued: {limits.queued}, as many as may wait here; try again later.")
    own = waiting.where(Job.submitter == submitter)
    if limits.queued_each and (session.scalar(own) or 0) >= limits.queued_each:
        raise QueueFull(
            f"Jobs of submitter {submitter!r} queued: {limits.queued_each}, as many as one submitter may have waiting;"
            " try again when some have begun, or cancel some."
        )
