"""`python -m service.export` without its start: a fork of the process that has imported everything already.

It is given its order and answers as the command does, through pipes, and dies as the command does. That the command
itself exports is shown by tests/e2e/test_export.py; that it answers and ends, by tests/service/export/test_exporter.py.
"""

import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from types import ModuleType

import pytest

from service.export import exporter
from service.forks import IMPORTED
from service.programs import end_with

LATE = ["service.export.__main__", "torch._dynamo", "torch.export._trace", "torch._inductor.decomposition"]
LATE += ["torch.onnx._internal.exporter._compat", "onnxscript.function_libs.torch_lib.ops"]
"""What an export imports, half of it only on its way."""
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*IMPORTED, *LATE])
_starting = threading.Lock()


class WarmExport:
    """What the exporter asks of a `subprocess.Popen`; any thread may start one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        reads, order = _context.Pipe(duplex=False)
        answer, writes = _context.Pipe(duplex=False)
        with reads, order, answer, writes:
            self.stdin = os.fdopen(os.dup(order.fileno()), "wb")
            self.stdout = os.fdopen(os.dup(answer.fileno()), "rb")
            self._process = _context.Process(target=_run, args=(reads, writes, dict(environment)), daemon=True)
            with _starting, _no_program():
                self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        if self.poll() is None:
            self._process.kill()

    def communicate(self) -> None:
        """Close the pipes, and wait for the end."""
        self.stdout.close()
        with suppress(BrokenPipeError):
            self.stdin.close()
        self._process.join()


@contextmanager
def warm_exports() -> Iterator[None]:
    """Let exporters start forks, from here on."""
    with pytest.MonkeyPatch.context() as patch:
        with pytest.MonkeyPatch.context() as one_thread:
            one_thread.setenv("OMP_NUM_THREADS", "1")  # read when torch is imported
            forkserver.ensure_running()
        patch.setattr(exporter, "start", WarmExport)
        yield


@contextmanager
def _no_program() -> Iterator[None]:
    """Keep what is started from importing the program that we run."""
    ours, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = ours


def _run(order: Connection, answer: Connection, environment: dict[str, str]) -> None:
    if ask := end_with(os.getppid()):
        ask()
    os.dup2(order.fileno(), 0)
    os.dup2(answer.fileno(), 1)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["service.export"]
    runpy.run_module("service.export", run_name="__main__", alter_sys=True)
