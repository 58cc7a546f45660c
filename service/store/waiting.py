"""Where a job stands in the queue, and why it waits."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.devices import KINDS, read_asked, usable
from service.store import workers
from service.store.limits import NO_LIMITS, QueueLimits
from service.store.queueing import WAITING, running, suits, turns
from service.store.tables import Job

Spot = tuple[str, int, int]
"""A submitter, a priority, and which job of that line, counted from 1."""
NO_SLOT = {
    "cuda": "No living worker has a slot on a GPU: the job waits until one starts, e.g. with TRAINYARD_DEVICES=cuda:0.",
    "cpu": "No living worker has a slot on a CPU: the job waits until one starts, e.g. with TRAINYARD_DEVICES=cpu.",
    "auto": "No worker is alive: the job waits until one starts.",
}
"""Why a job waits for whose `training.device` there is no slot."""
NO_SLOT_OF_SEVERAL = (
    "No living worker has a slot of {devices} GPUs{or_cpu}: the job waits until one starts, "
    "e.g. with TRAINYARD_DEVICES={slot}."
)
"""Why a job waits for so many `training.devices`."""


@dataclass(frozen=True)
class Place:
    """A place in the queue, 1 being next, among the jobs that slots of one kind take."""

    position: int
    device: str
    reason: str | None
    """Why the job waits, where it is not for its turn."""


def places(session: Session, job_ids: Sequence[str], limits: QueueLimits = NO_LIMITS) -> dict[str, Place]:
    """Return the places of those of these jobs that wait: how many claims it takes, if no job ends meanwhile.

    Jobs that a limit holds back stand behind all others. One that several kinds of slot can take has the best place
    that it has with those that living workers have.
    """
    waiting = select(Job.id, Job.device, Job.submitter).where(Job.id.in_(job_ids), WAITING)
    rows = session.execute(waiting).tuples().all()
    if not rows:
        return {}
    alive, at_work = workers.kinds(session), running(session)
    best: dict[str, int] = {}
    for kind in KINDS:
        asking = {job_id: submitter for job_id, device, submitter in rows if kind in _kinds_that_count(device, alive)}
        for job_id, position in _positions(session, asking, kind, limits).items():
            best[job_id] = min(position, best.get(job_id, position))
    return {
        job_id: Place(best[job_id], device, missing_slot(device, alive) or _limit(submitter, at_work, limits))
        for job_id, device, submitter in rows
        if job_id in best
    }


def missing_slot(device: str, alive: Collection[str]) -> str | None:
    """Return why a job waits that asks for this device while workers have slots of these kinds; None if it need not."""
    if any(kind in alive for kind in usable(device)):
        return None
    wanted, devices = read_asked(device)
    if devices == 1 or wanted == "cpu" or not alive:
        return NO_SLOT[wanted]
    slot = "+".join(f"cuda:{number}" for number in range(devices))
    return NO_SLOT_OF_SEVERAL.format(devices=devices, or_cpu=" or on a CPU" if wanted == "auto" else "", slot=slot)


def _limit(submitter: str, at_work: Mapping[str, int], limits: QueueLimits) -> str | None:
    """Return why a job of this submitter waits whatever its turn, None if no limit is reached."""
    total, own = sum(at_work.values()), at_work.get(submitter, 0)
    if limits.admit_run(total, own):
        return None
    if limits.running and total >= limits.running:
        return f"Jobs at work: {total}, as many as may be at the same time."
    return f"Jobs of submitter {submitter!r} at work: {own}, as many as one submitter may have at the same time."


def _kinds_that_count(device: str, alive: Collection[str]) -> tuple[str, ...]:
    """Return the kinds of slot among whose jobs a job stands; with none alive, where the first to come finds it."""
    living = tuple(kind for kind in usable(device) if kind in alive)
    return living or usable(device)[:1]


def _positions(session: Session, asked: Mapping[str, str], kind: str, limits: QueueLimits) -> dict[str, int]:
    """Return the place of each job, given with its submitter, in the order in which slots of one kind claim them."""
    if not asked:
        return {}
    spots = _spots(session, asked, kind)
    order, sought = turns(session, kind, limits), set(spots.values())
    taken: Counter[tuple[str, int]] = Counter()
    at: dict[Spot, int] = {}
    position = 0
    for position, line in enumerate(chain(order.claimable(), order.held()), 1):
        taken[line.submitter, line.priority] += 1
        spot = (line.submitter, line.priority, taken[line.submitter, line.priority])
        if spot in sought:
            at[spot] = position
            if len(at) == len(sought):
                break
    # Outside of a read transaction jobs may have been claimed since the spots were counted: then the last place is it.
    return {job_id: at.get(spot, max(position, 1)) for job_id, spot in spots.items()}


def _spots(session: Session, asked: Mapping[str, str], kind: str) -> dict[str, Spot]:
    """Return the spots of jobs, given with their submitters."""
    older = (Job.submitter.in_(set(asked.values())), Job.id <= max(asked))
    lines = select(Job.id, Job.submitter, Job.priority).where(*suits(kind), *older).order_by(Job.id)
    counted: Counter[tuple[str, int]] = Counter()
    spots: dict[str, Spot] = {}
    for job_id, submitter, priority in session.execute(lines).tuples():
        counted[submitter, priority] += 1
        if job_id in asked:
            spots[job_id] = (submitter, priority, counted[submitter, priority])
    return spots


def messages(session: Session, limits: QueueLimits) -> dict[str, int]:
    """Return how many messages there should be for each device that jobs ask for: one a job that may be claimed."""
    rows = session.execute(select(Job.device, func.count()).where(WAITING).group_by(Job.device)).tuples().all()
    if not limits.running and not limits.running_each:
        return dict(rows)
    claimable = sum(1 for _ in turns(session, None, limits).claimable())
    return {device: min(jobs, claimable) for device, jobs in rows}
