"""The parent's watch: it tells the database that the worker lives, takes jobs from dead children, and reconciles."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence

from service.devices import kind_of
from service.errors import TrainyardError
from service.queue import Queue
from service.reconciler import Reconciler
from service.settings import Settings
from service.store import jobs, workers
from service.store.engine import open_store
from worker.draining import SIGNAL

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.25
BEAT_LOOKS = 8
"""Looks between heartbeats: one every two seconds."""
FORGET_SECONDS = 3600.0


class Watch:
    """A thread of the worker's parent."""

    def __init__(
        self, settings: Settings, slots: Sequence[str], pids: Callable[[], Sequence[int]], name_of: Callable[[int], str]
    ) -> None:
        self._settings, self._slots, self._pids, self._name_of = settings, slots, pids, name_of
        self._store = open_store(settings.effective_database_url)
        self._reconciler = Reconciler(self._store, Queue(settings.effective_broker_url), settings)
        self._id = f"{socket.gethostname()}/{os.getpid()}"
        self._known = set(pids())
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin; the first heartbeat is at once."""
        self._thread.start()
        self._reconciler.start()

    def drain(self) -> None:
        """Have the children give their jobs back, and take this worker out of the list of the living."""
        self._stop.set()
        self._reconciler.stop()
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGNAL)
        try:
            with self._store.begin() as session:
                workers.leave(session, self._id)
        except TrainyardError as error:
            log.warning("the worker could not be taken off the list: %s", error)

    def _run(self) -> None:
        looks = 0
        while not self._stop.is_set():
            try:
                if looks % BEAT_LOOKS == 0:
                    self._beat()
                self._bury(self._known - set(self._pids()))
            except TrainyardError as error:
                log.warning("watching failed, will try again: %s", error)
            looks += 1
            self._stop.wait(LOOK_SECONDS)

    def _beat(self) -> None:
        with self._store.begin() as session:
            slots, kind = len(self._slots), kind_of(self._slots[0])
            workers.beat(session, self._id, host=socket.gethostname(), pid=os.getpid(), slots=slots, device=kind)
            workers.forget(session, FORGET_SECONDS)

    def _bury(self, dead: set[int]) -> None:
        """Give back the jobs of children that died, at once instead of when their lease runs out."""
        for pid in dead:
            name = self._name_of(pid)
            with self._store.begin() as session:
                for job in jobs.held_by(session, name):
                    reason = f"the process that trained it (pid {pid}) died."
                    jobs.lose(session, job.id, job.attempt, self._settings.max_attempts, reason)
                    log.error("job %s: %s", job.id, reason)
        self._known = (self._known - dead) | set(self._pids())
