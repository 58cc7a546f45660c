"""Work that is done in the background before it is asked for."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(items: Iterable[A], make: Callable[[A], B]) -> Iterator[B]:
    """Yield `make` of every item in their order; while one is in use, a thread makes the next.

    What `make` raises is raised where its result would have come. Nothing runs on once the iterator is closed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        coming: Future[B] | None = None
        try:
            for item in items:
                ready, coming = coming, thread.submit(make, item)
                if ready is not None:
                    yield ready.result()
                    del ready
            if coming is not None:
                yield coming.result()
        finally:
            if coming is not None:
                coming.cancel()
