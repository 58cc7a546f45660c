"""Files that pass through a server: how many at once, and the threads in which they are predicted."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar, cast

from service.errors import Overloaded
from service.predict.predict import use_threads
from service.settings import Settings

T = TypeVar("T")
_END = object()


class Streams:
    """Counts the files in the house, from the thread of the event loop; at most half of the processors predict them.

    The other half is for requests of few rows, which wait for none of these.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(max(1, settings.cores // 2), "predict-stream")
        self.open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Give a file its place until it has been answered.

        Raises:
            Overloaded: As many files as are let in have not been answered yet.
        """
        if self.open >= self._settings.max_streams:
            raise Overloaded(f"{self.open} files of rows are being predicted; no more are let in.")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def submit(self, iterator: Iterator[T]) -> "Future[object]":
        """Take the next step of an iterator, in a thread."""
        return self._threads.submit(self._step, iterator)

    def _step(self, iterator: Iterator[T]) -> object:
        use_threads(self._settings.predict_threads)
        return next(iterator, _END)

    def close(self) -> None:
        """Wait for the steps that are being taken."""
        self._threads.shutdown(cancel_futures=True)


class Steps(Generic[T]):
    """An iterator whose steps are taken in threads of `streams`, one when it is asked for and none ahead."""

    def __init__(self, streams: Streams, iterator: Iterator[T]) -> None:
        self._streams, self._iterator = streams, iterator
        self._running: Future[object] | None = None

    def __aiter__(self) -> "Steps[T]":
        return self

    async def __anext__(self) -> T:
        self._running = self._streams.submit(self._iterator)
        found = await asyncio.wrap_future(self._running)
        if found is _END:
            raise StopAsyncIteration
        return cast(T, found)

    async def aclose(self) -> None:
        """Wait for a step that is being taken for nobody any more, then let go of what the iterator holds."""
        running = self._running
        if running is not None and not running.done() and not running.cancel():
            await asyncio.gather(asyncio.wrap_future(running), return_exceptions=True)
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()
