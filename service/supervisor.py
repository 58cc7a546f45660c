"""Child processes that never outlive their parent: started, watched, restarted, and always stopped.

Each child leads a session of its own, so a Ctrl-C in the terminal reaches the supervisor alone and
the children stop in order: SIGTERM first, SIGKILL to the whole group when time is up. On Linux the
kernel sends them SIGTERM even when the supervisor itself is killed and cannot.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from service.programs import Program, StartFailed

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 12.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STEADY_SECONDS = 60.0
"""A child that lived this long is forgiven its earlier deaths."""
TAIL_LINES = 20


class StopRequested(Exception):
    """Somebody asked for the end while children were being started."""


class Child:
    """One program as a process, and when to start it again after a death."""

    def __init__(self, program: Program, environment: dict[str, str] | None) -> None:
        self.program, self.environment = program, environment
        self.deaths = 0
        self.restart_at: float | None = None
        self.start()

    def start(self) -> None:
        """Start the process."""
        self.restart_at, self.started_at = None, time.monotonic()
        self.process = self.program.start(self.program, self.environment)

    @property
    def alive(self) -> bool:
        """True while the process runs; takes note of its death otherwise."""
        return self.process.poll() is None

    def terminate(self) -> None:
        """Ask the process to stop; it stops its own children."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End whatever is left of the process and everything it started."""
        # Nobody may be left: ProcessLookupError, or PermissionError on macOS while the leader is not reaped.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # it may not lead its group yet
        self.process.wait()

    def plan_restart(self) -> float:
        """Note a death, clear away what it left, and return the seconds until the next start."""
        self.kill()
        self.deaths = 0 if time.monotonic() - self.started_at > STEADY_SECONDS else self.deaths
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self.deaths)
        self.deaths += 1
        self.restart_at = time.monotonic() + pause
        return pause


class Supervisor:
    """Keeps children running until a signal; leaving the `with` block stops them all, whatever happened."""

    def __init__(self, environment: dict[str, str] | None, say: Callable[[str], None] = lambda _: None) -> None:
        self.environment, self.say = environment, say
        self.children: list[Child] = []
        self.stop_requests = 0

    def __enter__(self) -> Self:
        # A signal's handler only counts; the byte that Python writes to this pipe wakes the loop at once.
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        self._wake_write = wake_write
        self._old_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._old_handlers = {number: signal.signal(number, self._on_stop) for number in STOP_SIGNALS}
        self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._wake)
        os.close(self._wake_write)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requests += 1

    def start(self, program: Program) -> Child:
        """Start a program that shall run until the end."""
        child = Child(program, self.environment)
        self.children.append(child)
        return child

    def finish(self, program: Program) -> None:
        """Run a program to its end.

        Raises:
            StartFailed: It ended with a code other than zero.
            StopRequested: A signal came meanwhile.
        """
        child = self.start(program)
        while child.alive:
            self._sleep(0.2)
            self._heed_signals()
        self.children.remove(child)
        if child.process.returncode:
            raise StartFailed(f"{_death_of(child)}:\n{program.last_words()}")

    def wait_until(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until `ready()`, while every child lives.

        Raises:
            StartFailed: A child died, or `seconds` went by.
            StopRequested: A signal came meanwhile.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            self._heed_signals()
            for child in self.children:
                if not child.alive:
                    raise StartFailed(f"{_death_of(child)}:\n{child.program.last_words()}")
            if time.monotonic() > deadline:
                logs = ", ".join(str(child.program.log) for child in self.children)
                raise StartFailed(f"{what} did not come up within {seconds:g} s; see {logs}")
            self._sleep(0.05)

    def watch(self) -> None:
        """Start dead children again, with growing pauses, until a signal asks for the end."""
        while not self.stop_requests:
            for child in self.children:
                self._look_after(child)
            self._sleep(0.5)

    def _look_after(self, child: Child) -> None:
        if child.restart_at is not None:
            if time.monotonic() >= child.restart_at:
                child.start()
        elif not child.alive:
            death = _death_of(child)
            self.say(f"{death}; starting it again in {child.plan_restart():g} s (log: {child.program.log})")

    def stop(self) -> None:
        """Stop every child: those that stand on others first. A second signal cuts the wait short."""
        children, self.children = self.children, []
        self._stop(child for child in children if not child.program.foundation)
        self._stop(child for child in children if child.program.foundation)

    def _stop(self, children: Iterable[Child]) -> None:
        stopping = list(children)
        for child in stopping:
            child.terminate()
        deadline, requests = time.monotonic() + STOP_SECONDS, max(1, self.stop_requests)
        while any(child.alive for child in stopping):
            if time.monotonic() > deadline or self.stop_requests > requests:
                break
            self._sleep(0.2)
        for child in stopping:
            child.kill()

    def _heed_signals(self) -> None:
        if self.stop_requests:
            raise StopRequested

    def _sleep(self, seconds: float) -> None:
        """Sleep until the time is over, a signal comes or a child dies."""
        if select.select([self._wake], [], [], seconds)[0]:
            os.read(self._wake, 1024)


def _death_of(child: Child) -> str:
    code = child.process.wait()
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"{child.program.name} {how}"
