"""What people ask of a job: pause, resume, cancel, kill, retry. One transaction each; asking twice is asking once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.errors import WrongState
from service.store import datasets, jobs, queueing
from service.store.limits import NO_LIMITS, QueueLimits
from service.store.states import TERMINAL, move
from service.store.tables import Job


@dataclass(frozen=True)
class Command:
    """What a command makes of a job in each state; in a state that is missing it is refused.

    `messages` are the events of the changes; a state that stays has none.
    """

    targets: Mapping[str, str]
    messages: Mapping[str, str]
    refusal: str
    event: str | None = None


_ended = {state: state for state in TERMINAL}
PAUSE = Command(
    {"queued": "paused", "running": "pausing", "pausing": "pausing", "paused": "paused"},
    {"paused": "The job is paused.", "pausing": "The run is to pause at its next step."},
    "a job can be paused while it is queued or running",
)
RESUME = Command(
    {"paused": "queued", "pausing": "running", "queued": "queued", "running": "running"},
    {"queued": "The job is queued again.", "running": "The run is to go on after all."},
    "a job can be resumed while it is paused; have one that failed or was cancelled tried again with retry",
    event="resume",
)
CANCEL = Command(
    {
        "queued": "cancelled",
        "paused": "cancelled",
        "running": "cancelling",
        "pausing": "cancelling",
        "cancelling": "cancelling",
        **_ended,
    },
    {"cancelled": "The job is cancelled.", "cancelling": "The run is to stop at its next step."},
    "a job can always be cancelled",
)
KILL = Command(
    {**dict.fromkeys(("queued", "paused", "running", "pausing", "cancelling"), "cancelled"), **_ended},
    {"cancelled": "The job is cancelled at once; what its worker still does is thrown away."},
    "a job can always be killed",
    event="killed",
)
RETRY = Command(
    {"failed": "queued", "cancelled": "queued", "queued": "queued", "running": "running"},
    {"queued": "The job is to be tried again, from its last checkpoint where it has one."},
    "a job can be tried again when it has failed or was cancelled; extend one that has succeeded",
    event="retry",
)
COMMANDS = {"pause": PAUSE, "resume": RESUME, "cancel": CANCEL, "kill": KILL, "retry": RETRY}
"""Every command by its name."""


def give(session: Session, job_id: str, name: str, limits: QueueLimits = NO_LIMITS) -> Job:
    """Do what the command of this name does; return the job as it is then.

    Raises:
        NotFound: There is no such job.
        WrongState: The command is of no use in the state that the job is in, or its data set is gone.
        QueueFull: The job would join the queue, and as many wait as the limits allow.
    """
    job, command = jobs.lock(session, job_id), COMMANDS[name]
    target = command.targets.get(job.status)
    if target is None:
        raise WrongState(f"Job {job_id} is {job.status}: {command.refusal}.")
    if target == job.status:
        return job
    if target == "queued":
        queueing.admit(session, job.submitter, limits)
    fresh: dict[str, Any] = {}
    if job.status in TERMINAL:
        datasets.hold_for(session, job)
        fresh = {"lost": 0, "error_code": None, "error_message": None, "finished_at": None}
    message = command.messages[target]
    return move(session, job_id, target, message, event=command.event, **fresh) or job
