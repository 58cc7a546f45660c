"""One attempt of a job: from the claim to its end, whatever that is."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from service.errors import InvalidInput, Unavailable
from service.failures import TrainingFailed
from service.settings import Settings
from service.store import events, jobs
from service.store.engine import Store
from service.store.tables import Job
from worker.draining import draining
from worker.lease import Interrupted, Lease, LeaseLost
from worker.packed.run import PackedRun
from worker.training.lone import LoneRun

log = logging.getLogger(__name__)
ASK_SECONDS = 0.5
"""Pause between two questions whether the database is back."""


def run_attempt(
    store: Store, settings: Settings, job: Job, stuck: Callable[[], None] | None = None, slot: str = "auto"
) -> None:
    """Train a claimed job to its end, a checkpoint or a reason why not; never raises what a job can cause.

    While the database does not answer, the attempt waits for it, and then goes on from the last checkpoint: what was
    about to be written may have been stored or not. `slot` is the device to train on; "auto": what the job asks for.
    `stuck` is called when the run lost its job, e.g. because it was
    killed, and does not come to a step's end.
    """
    first = job.attempt == 1 and job.parent is None
    while True:
        try:
            with Lease(store, settings, job.id, job.attempt, stuck) as lease:
                _attempt(store, settings, job, lease, slot, first)
            return
        except LeaseLost:
            log.warning("job %s: attempt %s no longer owns it; nothing more is written", job.id, job.attempt)
            return
        except Unavailable as error:
            log.warning("job %s: attempt %s waits, the database does not answer: %s", job.id, job.attempt, error)
            if not _wait_for_database(store, settings, job):
                # The lease runs out and the job is taken up again from its last checkpoint.
                log.error("job %s: attempt %s left it", job.id, job.attempt)
                return
            first = False


def _wait_for_database(store: Store, settings: Settings, job: Job) -> bool:
    """Wait until the database answers; return whether the attempt still owns its job then."""
    began = time.monotonic()
    while not draining() and time.monotonic() - began < settings.outage_seconds:
        try:
            with store.begin() as session:
                if jobs.renew(session, job.id, job.attempt, settings.lease_seconds) is None:
                    return False
                away = f"The database did not answer; after {time.monotonic() - began:.0f} s it does again."
                events.add(session, job.id, "outage", away, attempt=job.attempt, level="warn")
            return True
        except Unavailable:
            time.sleep(ASK_SECONDS)
    return False


def _attempt(store: Store, settings: Settings, job: Job, lease: Lease, slot: str, first: bool) -> None:
    try:
        with ExitStack() as processes:
            kind = PackedRun if job.spec.get("replicas", 1) > 1 else LoneRun
            kind(store, settings, job, lease, slot, processes).train(first)
    except Interrupted as interruption:
        _interrupted(store, lease, interruption)
    except (LeaseLost, Unavailable):
        raise
    except InvalidInput as error:
        _fail(lease, error.code, "; ".join(f"{p.path}: {p.message}" for p in error.problems))
    except TrainingFailed as error:
        _fail(lease, error.code, error.message)
    except Exception as error:
        log.exception("job %s: attempt %s failed", job.id, job.attempt)
        _fail(lease, "internal_error", f"The run failed unexpectedly: {type(error).__name__}: {error}")


def _interrupted(store: Store, lease: Lease, interruption: Interrupted) -> None:
    with store.begin() as session:
        if interruption.wish == "cancel":
            jobs.cancelled(session, lease.job_id, lease.attempt)
        else:
            jobs.give_back(session, lease.job_id, lease.attempt)


def _fail(lease: Lease, code: str, message: str) -> None:
    with lease.write() as session:
        jobs.fail(session, lease.job_id, lease.attempt, code, message)
