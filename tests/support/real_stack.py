"""The real thing: `trainyard up` in processes of its own, and a look at them through /proc."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from service.programs import end_with

ROOT = Path(__file__).parents[2]
TRAINYARD = [sys.executable, "-m", "service.cli"]
START_SECONDS = 120.0
WAIT_SECONDS = 60.0


def eventually(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
    """Wait until the condition holds; tell whether it did."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def parents() -> dict[int, int]:
    """The parent of every process that is not a zombie."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(folder.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    """Every process below one."""
    family, known = {pid}, parents()
    while grown := {child for child, parent in known.items() if parent in family} - family:
        family |= grown
    return family - {pid}


def command_of(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def name_of(pid: int) -> str:
    """What `top` calls a process; empty when it is gone."""
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "comm").read_text().strip()
    return ""


class Stack:
    """One `trainyard up`, in a folder of its own and on a free port."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.log = home.with_suffix(".log")
        with self.log.open("wb") as log:
            command = [*TRAINYARD, "up", "--home", str(home), "--port", "0"]
            environment = os.environ | {"TRAINYARD_LEASE_SECONDS": "4", **settings}
            # A session of its own, so that a Ctrl-C for the tests does not reach it before they are done with it.
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=end_with(os.getpid()),
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it is ready."""
        published = self.home / "url"
        assert eventually(lambda: published.exists() or self.process.poll() is not None, START_SECONDS), self.said
        assert self.process.poll() is None, self.said
        self.url = published.read_text().strip()

    @property
    def said(self) -> str:
        """What `up` printed."""
        return self.log.read_text()

    def pids(self, name: str) -> list[int]:
        """The processes below `up` of a name, parents first."""
        return sorted(pid for pid in descendants(self.process.pid) if name_of(pid) == name)

    def worker_child(self) -> int:
        """The process that trains."""
        known, workers = parents(), self.pids("worker")
        return max(pid for pid in workers if known.get(pid) in workers)

    def stop(self) -> None:
        """End it as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
