"""Programs, and the processes that they become: each ends with the one that started it.

On Linux the kernel sends a child SIGTERM when its parent dies, even of a SIGKILL.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

TAIL_LINES = 20
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartFailed(Exception):
    """A child could not be brought up; the message ends with what it said last."""


def end_with(parent: int) -> Callable[[], None] | None:
    """Return what a fresh child does so that the kernel ends it when its parent dies; None where none can."""
    libc = _libc
    if libc is None:
        return None

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # the parent died before the kernel was asked
            os._exit(1)

    return ask


class Process(Protocol):
    """What is asked of a child; `subprocess.Popen` is such."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """The exit status, negative of a signal; None as long as nobody has seen it end."""

    def poll(self) -> int | None:
        """Return the exit status; None while it lives."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status as soon as there is one."""

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still lives."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


def opened(program: "Program", environment: Mapping[str, str] | None) -> Process:
    """Start a program as a process that leads a session of its own; what it prints goes to the log."""
    with program.log.open("ab") as log:
        return subprocess.Popen(
            list(program.command),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with(os.getpid()),
        )


@dataclass(frozen=True)
class Program:
    """What a child runs. A `foundation` is what the others stand on: it stops after them."""

    name: str
    command: Sequence[str]
    log: Path
    foundation: bool = False
    start: Callable[["Program", Mapping[str, str] | None], Process] = opened

    def last_words(self) -> str:
        """Return the end of the log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
