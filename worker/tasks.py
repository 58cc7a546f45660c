"""The Celery tasks: an id in, a call into the training modules."""

import os
import signal

from service.devices import kind_of
from service.queue import TRAIN, queue_of
from service.store import jobs
from service.store.limits import QueueLimits
from worker.app import app, child
from worker.draining import draining
from worker.training.attempt import run_attempt


def train(job_id: str) -> None:
    """Claim the next job for this slot, whichever the message named, train it, and go on until there is none."""
    state = child()
    kind, limits = kind_of(state.slot), QueueLimits.of(state.settings)
    while not draining():
        with state.store.begin() as session:
            job = jobs.claim(session, state.name, state.settings.lease_seconds, kind, limits)
        if job is None:
            return
        run_attempt(state.store, state.settings, job, _die, state.slot)


def _die() -> None:
    """End this process in the middle of whatever it does; the parent makes a new one."""
    os.kill(os.getpid(), signal.SIGKILL)


train_task = app.task(name=TRAIN, queue=queue_of("auto"), ignore_result=True)(train)
