"""The Celery tasks: an id in, a call into the training modules."""

import os
import signal

from service.queue import QUEUE, TRAIN
from service.store import jobs
from worker.app import app, child
from worker.draining import draining
from worker.training.attempt import run_attempt


def train(job_id: str) -> None:
    """Claim the oldest queued job, whichever the message named, train it, and go on until none is queued."""
    state = child()
    while not draining():
        with state.store.begin() as session:
            job = jobs.claim(session, state.name, state.settings.lease_seconds)
        if job is None:
            return
        run_attempt(state.store, state.settings, job, _die)


def _die() -> None:
    """End this process in the middle of whatever it does; the parent makes a new one."""
    os.kill(os.getpid(), signal.SIGKILL)


train_task = app.task(name=TRAIN, queue=QUEUE, ignore_result=True)(train)
