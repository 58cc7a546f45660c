"""Owning a job: the lease, its heartbeat, the fence around every write, and what others wish of the job."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy.orm import Session

from service.errors import TrainyardError, Unavailable
from service.failures import TimeLimit
from service.settings import Settings
from service.store import jobs
from service.store.attempts import Progress
from service.store.engine import Store
from worker.draining import draining
from worker.outage import Lost

log = logging.getLogger(__name__)
Wish = Literal["cancel", "pause", "give_back", "fenced"]
WISHES: dict[str, Wish] = {"cancelling": "cancel", "pausing": "pause"}
RENEWALS = 6
"""Renewals in the length of a lease."""
GRACE_SECONDS = 5.0
"""How long a run that lost its job may take to notice: a step that takes longer is not waited for."""


class LeaseLost(Lost):
    """Another attempt owns the job: nothing more may be written."""


class Interrupted(Exception):
    """The run is to end at this step boundary, for a reason that came from outside."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        super().__init__(wish)


class Lease:
    """A claimed job. A thread reads wishes every `heartbeat_seconds` and extends the lease."""

    def __init__(
        self, store: Store, settings: Settings, job_id: str, attempt: int, stuck: Callable[[], None] | None = None
    ) -> None:
        """Hold a claimed job; `stuck` is called when the run goes on after it has lost the job."""
        self.job_id, self.attempt = job_id, attempt
        self._store, self._settings, self._stuck = store, settings, stuck
        self._wish: Wish | None = None
        self._step_seconds: float | None = None
        self._stepped_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{job_id}", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=20)

    @property
    def wish(self) -> Wish | None:
        """What is to become of the run at its next step; read at every step boundary, so it costs next to nothing."""
        return self._wish or ("give_back" if draining() else None)

    @contextmanager
    def write(self, progress: Progress | None = None) -> Iterator[Session]:
        """Open a transaction that commits only if this attempt still owns the job; it extends the lease.

        Raises:
            LeaseLost: Another attempt owns the job.
        """
        with self._store.begin() as session:
            status = jobs.renew(session, self.job_id, self.attempt, self._settings.lease_seconds, progress)
            self._note(status)
            if status is None:
                raise LeaseLost(self.job_id)
            yield session

    def _note(self, status: str | None) -> None:
        self._wish = "fenced" if status is None else WISHES.get(status)

    def _beat(self) -> None:
        every = max(1, int(self._settings.lease_seconds / RENEWALS / self._settings.heartbeat_seconds))
        beats = 0
        while not self._stop.wait(self._settings.heartbeat_seconds):
            beats += 1
            if self._wish == "fenced":
                break
            try:
                self._look(renew=beats % every == 0)
                self._check_step()
            except Unavailable as error:
                log.warning("job %s: no heartbeat, the database does not answer: %s", self.job_id, error)
            except TrainyardError:
                log.exception("job %s: heartbeat failed", self.job_id)
        if self._wish == "fenced":
            self._give_grace()

    def at_step(self) -> None:
        """Say that a step is over; measured where `limit_step` asked for it."""
        self._stepped_at = time.monotonic()

    def limit_step(self, seconds: float | None) -> None:
        """Fail the job when a step takes longer than this, from the first `at_step` on."""
        self._step_seconds = seconds

    def _check_step(self) -> None:
        limit, since = self._step_seconds, self._stepped_at
        if limit is None or since is None or time.monotonic() - since <= limit:
            return
        with self._store.begin() as session:
            message = f"A step took longer than training.max_step_seconds, {limit:g} s."
            jobs.fail(session, self.job_id, self.attempt, TimeLimit.code, message)
        self._note(None)

    def _give_grace(self) -> None:
        if self._stuck and not self._stop.wait(GRACE_SECONDS):
            log.error("job %s: attempt %s lost the job and does not stop", self.job_id, self.attempt)
            self._stuck()

    def _look(self, renew: bool) -> None:
        if renew:
            with self._store.begin() as session:
                status = jobs.renew(session, self.job_id, self.attempt, self._settings.lease_seconds)
        else:
            with self._store.read() as session:
                status = jobs.seen_status(session, self.job_id, self.attempt)
        if not self._stop.is_set():
            self._note(status)
