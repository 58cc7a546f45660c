"""Gathers measured values and writes them together with progress and lease, a few times a second at most."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from service.store import metrics
from service.store.attempts import Progress
from service.store.metrics import Point
from worker.lease import Lease
from worker.training.timings import Timings

FLUSH_SECONDS = 0.5
SMOOTHING = 0.7
"""Share of the old speed in the shown one, from one flush to the next."""


class Recorder:
    """Buffers points; a flush is one fenced transaction."""

    def __init__(self, lease: Lease, total_epochs: int, total_steps: int, timings: Timings | None = None) -> None:
        self.timings = timings or Timings()
        self._lease, self._total_epochs, self._total_steps = lease, total_epochs, total_steps
        self._points: list[Point] = []
        self._flushed_at: float | None = None
        self._speed: float | None = None
        self._mark = (time.monotonic(), 0, 0)

    def start(self, step: int) -> None:
        """Begin to measure speed at `step`."""
        self._mark = (time.monotonic(), step, 0)

    def add(self, split: str, epoch: int, step: int, values: Mapping[str, Any]) -> None:
        """Take in values by name; what is not one number, as a confusion matrix, has no curve and is left aside."""
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        self._points += [Point(name, split, epoch, step, value) for name, value in numbers.items()]

    def add_members(self, split: str, epoch: int, step: int, by_member: Mapping[int, Mapping[str, Any]]) -> None:
        """Take in values by name of each of several jobs that train together, and their means and extremes."""
        for number, values in by_member.items():
            numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
            self._points += [Point(n, split, epoch, step, value, replica=number) for n, value in numbers.items()]
        for name in dict.fromkeys(name for values in by_member.values() for name in values):
            each = [values[name] for values in by_member.values() if isinstance(values.get(name), int | float)]
            if each:
                mean = sum(each) / len(each)
                self._points.append(Point(name, split, epoch, step, mean, low=min(each), high=max(each)))

    def due(self) -> bool:
        """Return whether it is time to write."""
        return self._flushed_at is None or time.monotonic() - self._flushed_at >= FLUSH_SECONDS

    def flush(self, epoch: int, step: int, rows: int) -> None:
        """Write what was gathered, the progress and the lease in one transaction; `rows` trained since the start."""
        with self.timings.of("other"), self._lease.write(self.progress(epoch, step, rows)) as session:
            self.drain(session)
        self._flushed_at = time.monotonic()

    def drain(self, session: Session) -> None:
        """Put what was gathered into a transaction that the lease opened."""
        if self._points:
            metrics.record(session, self._lease.job_id, self._points)
            self._points = []

    def progress(self, epoch: int, step: int, rows: int) -> Progress:
        """Return how far the run is and how fast it has been of late."""
        at, marked_step, marked_rows = self._mark
        seconds = time.monotonic() - at
        eta = None
        if step > marked_step and seconds > 0:
            fresh = (rows - marked_rows) / seconds
            self._speed = fresh if self._speed is None else SMOOTHING * self._speed + (1 - SMOOTHING) * fresh
            eta = (self._total_steps - step) * seconds / (step - marked_step)
            self._mark = (time.monotonic(), step, rows)
        return Progress(epoch, step, self._total_epochs, self._total_steps, self._speed, eta, self.timings.values())
