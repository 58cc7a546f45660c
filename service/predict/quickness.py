"""Which batches take so little that nobody notices: learned from those before."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from service.predict.cache import LoadedModel
from service.predict.messages import PredictRequest
from service.predict.together import runs_of

QUICK_SECONDS = 0.004
"""Of a processor: what the event loop spends on a few other requests."""
GROWTH = 2
"""A batch may be so many times as large as the largest that is known to be quick."""
MOST_MODELS = 1024


class Quickness:
    """By model, the most runs of a row through a network that have been quick. Any number of threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, int] = {}

    def is_quick(self, loaded: LoadedModel, requests: Sequence[PredictRequest]) -> bool:
        """Return whether a batch may be expected to be quick; of a model that nothing is known of it may not."""
        return _runs(loaded, requests) <= GROWTH * self._runs.get(loaded.id, 0)

    @contextmanager
    def timed(self, loaded: LoadedModel, requests: Sequence[PredictRequest]) -> Iterator[None]:
        """Learn from the batch that is answered inside the block, in this thread."""
        began = time.thread_time()
        yield
        self._learn(loaded.id, _runs(loaded, requests), time.thread_time() - began)

    def _learn(self, model: str, runs: int, seconds: float) -> None:
        with self._lock:
            known = self._runs.get(model, 0)
            if seconds > QUICK_SECONDS:
                if runs <= GROWTH * known:
                    self._runs[model] = runs // (2 * GROWTH)
            elif runs > known:
                if len(self._runs) >= MOST_MODELS:
                    self._runs.clear()
                self._runs[model] = runs


def _runs(loaded: LoadedModel, requests: Sequence[PredictRequest]) -> int:
    return sum(runs_of(loaded, request) for request in requests)
