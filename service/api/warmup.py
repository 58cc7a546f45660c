"""What is slow the first time is done before anybody waits for it: torch loads much of itself at first use."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.advice import advise
from service.api.examples import SPECS
from service.network import build_network
from service.problems import read_draft
from service.queue import Queue
from service.summary import summarize

FEATURES, CLASSES = 4, 3


@contextmanager
def warming_up(queue: Queue) -> Iterator[None]:
    """Warm up beside the block, which begins at once."""
    thread = threading.Thread(target=_warm_up, args=[queue], name="warm-up", daemon=True)
    thread.start()
    yield
    thread.join()


def _warm_up(queue: Queue) -> None:
    queue.ping()
    spec = read_draft(SPECS["classification"]).spec
    if spec is not None:
        network = build_network(spec.network, spec.regularization, (FEATURES,), CLASSES)
        summarize(network)
        advise(spec, network)
