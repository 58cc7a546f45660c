"""Helper processes: started, told what to do, and buried with what they died of."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import torch

READY = b"ready\n"
PARTED = 3
"""Exit status of a helper that lost another process of its crew: that one's end is the one to tell of."""


@dataclass(frozen=True)
class Ending:
    """How a helper ended that was not told to. `code` and `message` say what it could not do, where that is why."""

    rank: int
    pid: int
    exitcode: int
    code: str | None = None
    message: str | None = None


class Helper:
    """A process that computes for a crew. It ends when it is killed, or when its owner ends in whatever way.

    On Linux the kernel sees to the latter; elsewhere the pipe that its orders come through breaks.
    """

    def __init__(
        self, rank: int, size: int, device: torch.device, folder: Path, ended: Callable[[Ending], None]
    ) -> None:
        """Start it; `ended` is called from a thread if it ends before it is killed."""
        said = [str(part) for part in (rank, size, device, folder, os.getpid())]
        command = [sys.executable, "-m", "worker.crew", *said]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._rank, self._ended, self._killed = rank, ended, False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"helper-{rank}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until it can take orders, or has ended."""
        self._ready.wait()

    def tell(self, line: bytes) -> None:
        """Send an order.

        Raises:
            OSError: It is gone.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    def kill(self) -> None:
        """End it, whatever it does: it has nothing that could be lost."""
        self._killed = True
        self._process.kill()
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        said: dict[str, str] = {}
        while line := self._process.stdout.readline():
            if line == READY:
                self._ready.set()
            else:
                said = orjson.loads(line)
        exitcode = self._process.wait()
        if not self._killed and exitcode != PARTED:
            self._ended(Ending(self._rank, self.pid, exitcode, **said))
        self._ready.set()
