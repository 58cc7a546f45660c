"""Programs as forks of one process that has imported what they need: `python -m service.forks`.

Importing torch, Celery and FastAPI takes seconds of a processor and a hundred megabytes, and every program of a stack
would do so again: forks share both. Celery makes the processes that train in the same way. What is forked has
imported and nothing else: no thread of ours runs in it, and no device or database was touched.

It says `{"ready": pid}` once it has imported. An order is a line of JSON on a socket, answered with `{"pid": ...}`; a
line `{"ended": pid, "status": ...}` follows when that process ends. When the socket closes, whoever gave the orders is
gone, and so is the process, whose forks the kernel then ends.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

from service.programs import Process, Program, end_with, opened

FORKS = sys.platform == "linux"
"""Elsewhere libraries of the system do not take to being forked."""
COMMAND = [sys.executable, "-m", "service.forks"]
IMPORTED = [
    "torch._dynamo", "worker.training.attempt", "celery.bin.worker", "celery.apps.worker", "celery.concurrency.prefork",
    "kombu.transport.redis", "service.api.app", "uvicorn.main", "uvicorn.loops.auto", "uvicorn.protocols.http.auto",
    "psycopg", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg",
]  # fmt: skip
"""What server, worker and predictor have in common, or one of them alone; settings are read by none of it."""
LONGEST_NAME = 15
LOOK_SECONDS = 0.05
PR_SET_NAME = 15


class Nursery:
    """The process that has imported everything; it does so while others go on. Threads may share it."""

    def __init__(self, imported: Sequence[str] = IMPORTED) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[int, int] = {}
        self._begun = b""
        self._ready = False
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*COMMAND, *imported], stdin=theirs.fileno(), start_new_session=True, preexec_fn=end_with(os.getpid())
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and with it what is left of its forks."""
        self.process.kill()
        self.process.wait()
        self._socket.close()

    def ready(self) -> bool:
        """Tell whether it has imported everything, or is gone."""
        with self._lock:
            try:
                if not self._ready and select.select([self._socket], [], [], 0.0)[0]:
                    self._heard()
            except OSError:
                return True
            return self._ready

    def start(self, program: Program, environment: Mapping[str, str] | None) -> Process:
        """Start a program of a supervisor; what is no module of this Python, or when the nursery is gone, by itself."""
        try:
            if program.command[:2] == [sys.executable, "-m"]:
                return self.fork(program.command, environment or {}, program.log, program.name)
        except OSError:
            pass
        return opened(program, environment)

    def fork(self, command: Sequence[str], environment: Mapping[str, str], log: Path, name: str) -> "Fork":
        """Start a process for a command `[python, "-m", module, ...]`; what it prints is added to the log.

        It leads a session of its own. `name` is what `top` calls it.

        Raises:
            OSError: The nursery is gone.
        """
        _, _, module, *arguments = command
        order = {"module": module, "arguments": arguments, "environment": dict(environment), "log": str(log)}
        with self._lock:
            self._socket.sendall(json.dumps({**order, "name": name}).encode() + b"\n")
            while (pid := self._heard()) is None:
                pass
        return Fork(self, pid)

    def status(self, pid: int, timeout: float = 0.0) -> int | None:
        """Return the exit status of a fork, negative of a signal; None if it lives on for `timeout` seconds."""
        with self._lock:
            try:
                while pid not in self._statuses and select.select([self._socket], [], [], timeout)[0]:
                    self._heard()
            except OSError:  # the kernel ends what it has forked
                return -signal.SIGTERM
            return self._statuses.get(pid)

    def _heard(self) -> int | None:
        """Take in what the nursery says next; return the number of a new process if it tells of one."""
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionError("the process that others are forked from is gone")
        *lines, self._begun = (self._begun + received).split(b"\n")
        pid = None
        for said in map(json.loads, lines):
            self._ready |= "ready" in said
            pid = said.get("pid", pid)
            self._statuses |= {said["ended"]: said["status"]} if "ended" in said else {}
        return pid


class Fork:
    """A process of a nursery, with what is used here of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self.pid = nursery, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, negative of a signal; None while it lives."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status as soon as there is one.

        Raises:
            subprocess.TimeoutExpired: It lives on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self._look(LOOK_SECONDS)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.status(self.pid, seconds)
        return self.returncode


def main() -> None:
    """Import, then fork as ordered until nobody is left to give orders."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.freeze()  # what is shared stays shared
    orders = socket.socket(fileno=os.dup(0))
    _say(orders, {"ready": os.getpid()})
    awake, wake = os.pipe()
    os.set_blocking(awake, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    begun = b""
    while True:
        readable, _, _ = select.select([orders.fileno(), awake], [], [])
        if awake in readable:
            os.read(awake, 4096)
            _tell_of_the_dead(orders)
        if orders.fileno() in readable:
            received = orders.recv(65536)
            if not received:
                os._exit(0)
            *lines, begun = (begun + received).split(b"\n")
            for order in map(json.loads, lines):
                if not (pid := os.fork()):
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for fd in (orders.detach(), awake, wake):
                        os.close(fd)
                    _become(**order)
                _say(orders, {"pid": pid})


def _tell_of_the_dead(orders: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            _say(orders, {"ended": found[0], "status": os.waitstatus_to_exitcode(found[1])})


def _say(orders: socket.socket, what: dict[str, int]) -> None:
    orders.sendall(json.dumps(what).encode() + b"\n")


def _become(module: str, arguments: list[str], environment: dict[str, str], log: str, name: str) -> NoReturn:
    os.setsid()
    if ask := end_with(os.getppid()):
        ask()
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:LONGEST_NAME])
    with open(log, "ab") as file, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()  # noqa: TID251 - what settings are read from
    os.environ.update(environment)  # noqa: TID251
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    main()
