"""Real processes without their start: `python -m ...` in forks of one process that has imported everything already.

Importing torch, Celery and FastAPI takes four seconds of processor time, and some tests start dozens of processes.
Celery makes the processes that train in the same way, by forking one that has imported all of it.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Protocol
from unittest.mock import patch

from service.supervisor import end_with

IMPORTED = [
    "tests.support.dying", "worker.training.attempt", "celery.bin.worker", "celery.apps.worker",
    "celery.concurrency.prefork", "kombu.transport.redis", "service.api.app", "service.cli", "uvicorn.main",
    "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "psycopg", "sqlalchemy.dialects.sqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
]  # fmt: skip
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(IMPORTED)


class Process(Protocol):
    """What tests ask of a process that they started; `subprocess.Popen` is such."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status; None while it lives."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status as soon as there is one.

        Raises:
            subprocess.TimeoutExpired: It lives on.
        """

    def kill(self) -> None:
        """Send SIGKILL."""

    def terminate(self) -> None:
        """Send SIGTERM."""


class WarmProcess:
    """A process for a command `[python, "-m", module, ...]`; it ends with this process."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start it; what it prints is added to the log."""
        python, flag, module, *arguments = command
        assert (python, flag) == (sys.executable, "-m"), command
        with patch.dict(os.environ, OMP_NUM_THREADS="1"):  # read when torch is imported
            forkserver.ensure_running()
        what = (module, arguments, dict(environment), str(log))
        self._process = _context.Process(target=_run, args=what, daemon=True)
        with patch.dict(sys.modules, __main__=ModuleType("__main__")):  # it is not to import the program that we run
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()


def _run(module: str, arguments: list[str], environment: dict[str, str], log: str) -> None:
    if ask := end_with(os.getppid()):
        ask()
    multiprocessing.current_process().daemon = False  # it may have children of its own
    with open(log, "ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
