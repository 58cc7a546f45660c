"""Looks after jobs and predictions that nobody looks after: lost leases, and queued ones without a message.

Any live process may run it, and several may at once: what it does is decided in the database.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from itertools import groupby

from sqlalchemy.orm import Session

from service.errors import TrainyardError
from service.queue import Queue, queue_of
from service.settings import Settings
from service.store import jobs, prediction_attempts, predictions, upkeep, waiting
from service.store.engine import Store
from service.store.limits import QueueLimits

log = logging.getLogger(__name__)
MOST_MESSAGES = 1000
"""Messages published in one round; the next is a few seconds away."""
FIRST_TIDY_SECONDS, TIDY_SECONDS = 60.0, 3600.0
"""When bytes that nothing needs are first thrown away after a start, and how often then."""


def reconcile(store: Store, queue: Queue, settings: Settings, recover: bool = True) -> None:
    """Take jobs from workers whose lease ran out, then publish a message for every queued job without one.

    A job that a limit holds back needs none: a worker would find nothing to claim. Without `recover` no job is taken:
    who just came back with the database has first to say so.
    """
    if recover:
        _recover(store, settings, "jobs", jobs.recover)
    with store.read() as session:
        wanted = waiting.messages(session, QueueLimits.of(settings))
    for devices in groupby(sorted(wanted, key=queue_of), key=queue_of):
        if not _fill(store, queue, {device: wanted[device] for device in devices[1]}):
            return


def reconcile_predictions(store: Store, queue: Queue, settings: Settings, recover: bool = True) -> None:
    """Do for predictions what `reconcile` does for jobs."""
    if recover:
        _recover(store, settings, "predictions", prediction_attempts.recover)
    with store.read() as session:
        waiting_ones = predictions.oldest_queued(session, MOST_MESSAGES)
    if waiting_ones and (depth := queue.predictions()) is not None:
        for prediction_id in waiting_ones[: max(0, len(waiting_ones) - depth)]:
            if not queue.enqueue_prediction(prediction_id):
                return


def _recover(store: Store, settings: Settings, what: str, recover: Callable[[Session, int], list[str]]) -> None:
    with store.begin() as session:
        lost = recover(session, settings.max_attempts)
    if lost:
        log.warning("recovered lost %s: %s", what, ", ".join(lost))


def _fill(store: Store, queue: Queue, wanted: Mapping[str, int]) -> bool:
    """Publish what the queue lacks that jobs share which ask for these; False when the broker does not answer."""
    there = queue.depth(next(iter(wanted)))
    if there is None:
        return False
    for device, messages in wanted.items():
        if not _publish(store, queue, device, messages - there):
            return False
        there = max(0, there - messages)
    return True


def _publish(store: Store, queue: Queue, device: str, messages: int) -> bool:
    """Publish so many messages for jobs that ask for a device; False when the broker does not answer."""
    if messages <= 0:
        return True
    with store.read() as session:
        ids = jobs.oldest_queued(session, min(messages, MOST_MESSAGES), device)
    return all(queue.enqueue(job_id, device) for job_id in ids)


class Reconciler:
    """A thread that reconciles every few seconds, and tidies every hour, until it is stopped."""

    def __init__(self, store: Store, queue: Queue, settings: Settings) -> None:
        self._store, self._queue, self._settings = store, queue, settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._tidy_at = time.monotonic() + FIRST_TIDY_SECONDS
        self._recover_at = 0.0

    def start(self) -> None:
        """Begin; the first round is at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round under way."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _tidy(self) -> None:
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY_SECONDS
            upkeep.tidy(self._store)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                recover = time.monotonic() >= self._recover_at
                reconcile(self._store, self._queue, self._settings, recover)
                reconcile_predictions(self._store, self._queue, self._settings, recover)
                self._tidy()
            except TrainyardError as error:
                # No worker could extend its lease while the database was away: that is no sign of its death.
                self._recover_at = time.monotonic() + self._settings.lease_seconds
                log.warning("reconciling failed, will try again: %s", error)
            except Exception:
                log.exception("reconciling failed, will try again")
            self._stop.wait(self._settings.reconcile_seconds)
