"""Forking with a database open.

SQLite remembers which files its process has locked; a forked child inherits the memory but not the locks. It
would believe to hold locks that it does not, and another process could delete the log under it
(https://sqlite.org/howtocorrupt.html, section 2.6). So no SQLite connection is open across a fork: the fork
waits until no session is, closes the idle connections, and lets nobody in until it is done. On PostgreSQL the
child has only to forget the connections of its parent.
"""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

PATIENCE = 20.0
"""Seconds a fork waits for open sessions; longer than a writer waits for its turn."""
OPENED = "opened"
"""Where a connection has the process that opened it, and how many times others had been closed before."""


class ForkGate:
    """Counts the open sessions of one engine and keeps them apart from forks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._exclusive = engine.dialect.name == "sqlite"
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._forks = 0
        self._closings, self._disposed = 0, False
        event.listen(engine, "connect", self._mark)
        event.listen(engine, "checkin", self._close_if_late)
        _gates.add(self)

    @contextmanager
    def passage(self) -> Iterator[None]:
        """Stay inside for the length of the block; wait first for a fork under way to be over."""
        thread = threading.get_ident()
        with self._changed:
            # Who is inside already may go deeper: the fork waits for that thread, so it must not wait for the fork.
            self._changed.wait_for(lambda: not self._forks or self._inside[thread])
            self._inside[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[thread] -= 1
                self._inside += Counter()  # drops the zeros, so that ended threads are forgotten
                self._changed.notify_all()

    def dispose(self) -> None:
        """Keep no connection from now on; only forget those that belong to the parent of this process."""
        if self._pid == os.getpid():
            self._disposed = True
            self._close()
        else:
            self.after_in_child()

    def before(self) -> None:
        """Let nobody in, wait for the sessions of other threads to end, close what is idle."""
        thread = threading.get_ident()
        with self._changed:
            self._forks += 1
            if self._exclusive:
                self._changed.wait_for(lambda: self._inside.total() <= self._inside[thread], PATIENCE)
        if self._exclusive:
            self._close()

    def after_in_parent(self) -> None:
        """Let sessions in again."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def after_in_child(self) -> None:
        """Begin anew: the other threads, their sessions and the locks they held stayed with the parent."""
        thread = threading.get_ident()
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._inside = Counter({thread: self._inside[thread]})
        self._forks = 0
        self._disposed = False
        self._engine.dispose(close=False)

    def _close(self) -> None:
        self._closings += 1
        self._engine.dispose()

    def _mark(self, _: object, record: ConnectionPoolEntry) -> None:
        record.info[OPENED] = self._pid, self._closings

    def _close_if_late(self, _: object, record: ConnectionPoolEntry) -> None:
        """Close what was in use while the idle connections were closed, or has been opened since: nobody else would."""
        if OPENED not in record.info:
            return  # it was lost, and is closed already
        pid, closings = record.info[OPENED]
        if pid == self._pid and (self._disposed or closings != self._closings):
            record.invalidate()


_gates: "weakref.WeakSet[ForkGate]" = weakref.WeakSet()


def _before() -> None:
    for gate in list(_gates):
        gate.before()


def _after_in_parent() -> None:
    for gate in list(_gates):
        gate.after_in_parent()


def _after_in_child() -> None:
    for gate in list(_gates):
        gate.after_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
