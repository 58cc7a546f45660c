"""The parent's watch: it says that the worker lives, takes jobs from dead children, reconciles and tells webhooks."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sqlalchemy.orm import Session

from service.devices import kind_of
from service.errors import TrainyardError
from service.queue import Queue
from service.reconciler import Reconciler
from service.settings import Settings
from service.store import jobs, workers
from service.store.engine import open_store
from service.webhooks.sender import Sender
from worker.deaths import cause, ended
from worker.draining import SIGNAL

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.25
BEAT_LOOKS = 8
"""Looks between heartbeats: one every two seconds."""
FORGET_SECONDS = 3600.0


class ChildProcess(Protocol):
    """What the watch looks at of a child; multiprocessing's processes are such."""

    pid: int | None
    exitcode: int | None
    """None while it lives; below 0: the signal that it died of."""


class Watch:
    """A thread of the worker's parent."""

    def __init__(
        self,
        settings: Settings,
        slots: Sequence[str],
        children: Callable[[], Iterable[ChildProcess]],
        name_of: Callable[[int], str],
    ) -> None:
        """Watch the processes that `children` returns, those that live now; jobs know each by `name_of(pid)`."""
        self._settings, self._slots, self._children, self._name_of = settings, slots, children, name_of
        self._store = open_store(settings.effective_database_url)
        self._reconciler = Reconciler(self._store, Queue(settings.effective_broker_url), settings)
        self._sender = Sender(self._store, settings)
        self._id = f"{socket.gethostname()}/{os.getpid()}"
        self._known = self._living()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin; the first heartbeat is at once."""
        self._thread.start()
        self._reconciler.start()
        self._sender.start()

    def drain(self) -> None:
        """Have the children give their jobs back, and take this worker out of the list of the living."""
        self._stop.set()
        self._reconciler.stop()
        for pid in self._living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGNAL)
        try:
            with self._store.begin() as session:
                workers.leave(session, self._id)
        except TrainyardError as error:
            log.warning("the worker could not be taken off the list: %s", error)
        self._sender.stop()

    def _run(self) -> None:
        looks = 0
        while not self._stop.is_set():
            try:
                if looks % BEAT_LOOKS == 0:
                    self._beat()
                self._bury()
            except TrainyardError as error:
                log.warning("watching failed, will try again: %s", error)
            looks += 1
            self._stop.wait(LOOK_SECONDS)

    def _beat(self) -> None:
        with self._store.begin() as session:
            slots, kind = len(self._slots), kind_of(self._slots[0])
            workers.beat(session, self._id, host=socket.gethostname(), pid=os.getpid(), slots=slots, device=kind)
            workers.forget(session, FORGET_SECONDS)

    def _living(self) -> dict[int, ChildProcess]:
        # One that is being forked at this moment has no number yet.
        return {child.pid: child for child in self._children() if child.pid is not None}

    def _bury(self) -> None:
        """Give back the jobs of children that died, at once instead of when their lease runs out."""
        living = self._living()
        for pid, child in list(self._known.items()):
            exitcode = ended(pid)
            if pid in living and exitcode is None:
                continue
            with self._store.begin() as session:
                self._take(session, pid, child.exitcode if exitcode is None else exitcode)
            del self._known[pid]
        self._known |= living

    def _take(self, session: Session, pid: int, exitcode: int | None) -> None:
        """Take what a dead child held."""
        for job in jobs.held_by(session, self._name_of(pid)):
            reason = cause(session, job.id, pid, exitcode)
            jobs.lose(session, job.id, job.attempt, self._settings.max_attempts, reason)
            log.error("job %s: %s", job.id, reason)
