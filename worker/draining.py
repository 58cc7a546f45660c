"""Whether this worker is to stop: set by a signal, read at every step boundary."""

import signal
import threading

SIGNAL = signal.SIGUSR2
"""What the parent sends its children when it was told to stop."""

_draining = threading.Event()


def draining() -> bool:
    """Return whether running jobs are to be given back and none to be taken."""
    return _draining.is_set()


def drain(*_: object) -> None:
    """Begin to stop; usable as a signal handler."""
    _draining.set()


def resume() -> None:
    """Take jobs (again): a process forked from one that is stopping, or a test."""
    _draining.clear()
