"""One attempt of a job: from the claim to its end, whatever that is."""

import logging
from collections.abc import Callable
from contextlib import ExitStack

from sqlalchemy.orm import Session

from service.errors import InvalidInput, Unavailable
from service.failures import TrainingFailed
from service.settings import Settings
from service.store import events, jobs
from service.store.engine import Store
from service.store.tables import Job
from worker.lease import Interrupted, Lease
from worker.outage import Lost, outlast
from worker.packed.run import PackedRun
from worker.training.lone import LoneRun

log = logging.getLogger(__name__)


def run_attempt(
    store: Store, settings: Settings, job: Job, stuck: Callable[[], None] | None = None, slot: str = "auto"
) -> None:
    """Train a claimed job to its end, a checkpoint or a reason why not; never raises what a job can cause.

    While the database does not answer, the attempt waits for it, and then goes on from the last checkpoint. `slot` is
    the device to train on; "auto": what the job asks for. `stuck` is called when the run lost its job, e.g. because it
    was killed, and does not come to a step's end.
    """
    first = job.attempt == 1 and job.parent is None

    def work(again: bool) -> None:
        with Lease(store, settings, job.id, job.attempt, stuck) as lease:
            _attempt(store, settings, job, lease, slot, first and not again)

    def owns(session: Session, seconds: float) -> bool:
        if jobs.renew(session, job.id, job.attempt, settings.lease_seconds) is None:
            return False
        away = f"The database did not answer; after {seconds:.0f} s it does again."
        events.add(session, job.id, "outage", away, attempt=job.attempt, level="warn")
        return True

    outlast(store, settings, f"job {job.id}: attempt {job.attempt}", work, owns)


def _attempt(store: Store, settings: Settings, job: Job, lease: Lease, slot: str, first: bool) -> None:
    try:
        with ExitStack() as processes:
            kind = PackedRun if job.spec.get("replicas", 1) > 1 else LoneRun
            kind(store, settings, job, lease, slot, processes).train(first)
    except Interrupted as interruption:
        _interrupted(store, lease, interruption)
    except (Lost, Unavailable):
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
