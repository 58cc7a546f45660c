"""A trace of some steps of a job: what ran when, for how long."""

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

WARM_UP_STEPS = 10
"""Steps of an attempt before those that are traced: in them programs are written down, and caches filled."""
MOST_STEPS = 20
MOST_EVENTS = 200_000
"""Events of a trace. Each takes some 300 bytes of JSON, and a twentieth of that compressed."""
PIECE_BYTES = 1 << 20
GZIP = 31
"""What zlib calls the window of gzip's format."""


class Profiler:
    """Traces some steps in a row, from the one behind the warm-up on.

    A step by itself comes first, which shows how many events one has: of steps with many fewer are traced. A trace ends
    with its epoch, so that no validation is in it, however long that is. An attempt with few steps warms up for less.
    """

    def __init__(self, steps: int, device: torch.device) -> None:
        """Trace some of the `steps` that are to come."""
        self.ready = False
        """Whether the trace can be had."""
        self.steps = 0
        """Steps in the trace."""
        self._cold = min(WARM_UP_STEPS, steps // 3)
        self._most = 1
        self._trace: profile | None = None
        self._runs = False
        self._activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]

    def step(self, number: int) -> record_function | None:
        """Say that a step begins; return what is to be open while it runs, if anything."""
        if self._cold:
            self._cold -= 1
            return None
        if self._runs and self.steps == self._most:
            self.pause()
        if self.ready:
            return None
        if not self._runs:
            self._trace = profile(activities=self._activities)
            self._trace.start()
            self._runs, self.steps = True, 0
        self.steps += 1
        return record_function(f"step {number}")

    def pause(self) -> None:
        """Say that something else than steps begins."""
        if not self._runs or self._trace is None:
            return
        self._trace.stop()
        self._runs = False
        if self._most > 1 or self.steps > 1:
            self.ready = True
            return
        results = self._trace.profiler.kineto_results if self._trace.profiler else None
        events = len(results.events()) if results else 0
        self._most = max(2, min(MOST_STEPS, MOST_EVENTS // max(1, events)))

    def end(self) -> None:
        """Say that there are no more steps: what is traced by now is the trace."""
        self.pause()
        self.ready = self._trace is not None

    def compressed(self) -> Iterator[bytes]:
        """Yield the trace as JSON for Chrome, compressed as gzip does."""
        assert self.ready and self._trace is not None
        squeeze = zlib.compressobj(wbits=GZIP)
        with tempfile.TemporaryDirectory(prefix="profile-") as folder:
            path = Path(folder) / "trace.json"
            self._trace.export_chrome_trace(str(path))
            with path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield squeeze.compress(piece)
        yield squeeze.flush()
