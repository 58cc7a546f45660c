"""Micro-batching: requests that come while a model is busy wait together, and then run together.

Each model has a line. Whoever finds it idle is run at once, with those whose bytes have arrived by then; whoever comes
meanwhile stands in line, and the whole line, up to `predict_batch_rows` rows, is the next batch. Batches of one model
follow each other, those of several models run side by side. What takes long (`is_light` says what) leaves the line for
threads of its own.

Batches run in threads, but for those that take less than handing them to a thread and back costs: of a model in memory
whose batches, as large as this one, have lately taken `QUICK_SECONDS` at most (`quickness.py`). They run on the event
loop, between two of its turns. Threads and loop share one interpreter's lock, and wait for it at every operation.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from service.errors import TrainyardError
from service.predict.asked import Asked, Outcomes, Question, deliver, settle
from service.predict.cache import LoadedModel, ModelCache
from service.predict.messages import PredictAnswer, PredictRequest
from service.predict.quickness import Quickness
from service.predict.together import answer_together, is_light
from service.settings import Settings

T = TypeVar("T")
LONG_BODY = 256 * 1024
"""Bytes from which a body is not even read in line."""
SHORT_BODY = 16 * 1024
"""Bytes up to which a body may be read on the event loop."""
GATHER_SECONDS = 0.002
"""How long a request stands in line at most while the event loop reads others that have arrived as well."""


class Batcher:
    """Answers the predict requests of one process."""

    def __init__(self, models: ModelCache, settings: Settings) -> None:
        self._models, self._settings = models, settings
        self._lines: dict[str, deque[Asked]] = {}
        self._quickness = Quickness()
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._light = ThreadPoolExecutor(max(2, settings.cores), "predict")
        self._heavy = ThreadPoolExecutor(max(1, settings.cores), "predict-long")

    def close(self) -> None:
        """Wait for what is running, and drop what is not."""
        self._light.shutdown(cancel_futures=True)
        self._heavy.shutdown(cancel_futures=True)

    async def ask(self, reference: str, question: Question[T], size: int) -> T:
        """Return the answer of a model, named by its id or an alias, to a question whose body has `size` bytes.

        Raises:
            TrainyardError: What reading the model or the question, or predicting, raises.
        """
        loop = asyncio.get_running_loop()
        asked = Asked(question, size, time.monotonic(), loop, loop.create_future())
        if size > LONG_BODY:
            self._heavy.submit(self._alone, reference, asked)
        else:
            self._stand_in_line(reference, asked)
        answer: T = await asked.future
        return answer

    def _stand_in_line(self, reference: str, asked: Asked) -> None:
        with self._lock:
            line = self._lines.get(reference)
            if line is not None:
                line.append(asked)
                self._arrival.notify_all()
                return
            self._lines[reference] = deque([asked])
        if self._settings.predict_wait_seconds:
            self._light.submit(self._turns, reference)
        else:
            asked.loop.call_soon(self._gather, reference, asked.loop, 0)

    def _gather(self, reference: str, loop: asyncio.AbstractEventLoop, before: int) -> None:
        """Answer a line as soon as a turn of the loop, which reads whatever has arrived, has made it no longer."""
        with self._lock:
            line = self._lines[reference]
            grows = before < len(line) < self._settings.predict_batch_rows
            since = line[0].at
        if grows and time.monotonic() < since + GATHER_SECONDS:
            loop.call_soon(self._gather, reference, loop, len(line))
        else:
            self._turn_here(reference, loop)

    def _turn_here(self, reference: str, loop: asyncio.AbstractEventLoop) -> None:
        """Answer one batch of a line on the event loop, if that takes no time; else leave the line to a thread."""
        loaded = self._models.held(reference)
        if loaded is None or self._longest(reference) > SHORT_BODY:
            self._light.submit(self._turns, reference)
            return
        outcomes, batch, requests = self._read(reference, loaded, self._present(reference))
        settle(outcomes)
        if not self._quickness.is_quick(loaded, requests):
            self._light.submit(self._go_on, reference, loaded, batch, requests)
            return
        settle(self._answer(loaded, batch, requests))
        if self._left(reference):
            loop.call_soon(self._gather, reference, loop, 0)

    def _go_on(self, reference: str, loaded: LoadedModel, batch: list[Asked], requests: list[PredictRequest]) -> None:
        """Answer a batch that was read, and then the rest of the line."""
        deliver(self._answer(loaded, batch, requests))
        if self._left(reference):
            self._turns(reference)

    def _turns(self, reference: str) -> None:
        """Answer a line batch by batch, until it is empty or other lines are to have their turn."""
        while True:
            self._turn(reference)
            if not self._left(reference):
                return
            self._wait(reference)
            if self._others():
                self._light.submit(self._turns, reference)
                return

    def _left(self, reference: str) -> bool:
        """Return whether anybody stands in a line; one that is empty is gone."""
        with self._lock:
            if not self._lines[reference]:
                del self._lines[reference]
                return False
            return True

    def _others(self) -> bool:
        with self._lock:
            return len(self._lines) > 1

    def _turn(self, reference: str) -> None:
        """Answer one batch of a line."""
        # Only those who came before the alias was looked up: it may have been moved before the others came.
        present = self._present(reference)
        try:
            outcomes = self._batch(reference, self._models.find(reference), present)
        except Exception as error:
            outcomes = [(asked, error) for asked in self._take(reference, present)]
        deliver(outcomes)

    def _wait(self, reference: str) -> None:
        """Give those in line time to become more, where they have company already."""
        if not self._settings.predict_wait_seconds:
            return
        with self._arrival:
            line = self._lines[reference]
            end = line[0].at + self._settings.predict_wait_seconds
            while 1 < len(line) < self._settings.predict_batch_rows and (left := end - time.monotonic()) > 0:
                self._arrival.wait(left)

    def _present(self, reference: str) -> int:
        with self._lock:
            return len(self._lines[reference])

    def _longest(self, reference: str) -> int:
        """Return the bytes of the longest body in a line."""
        with self._lock:
            return max(asked.size for asked in self._lines[reference])

    def _take(self, reference: str, count: int) -> list[Asked]:
        with self._lock:
            line = self._lines[reference]
            return [line.popleft() for _ in range(min(count, len(line)))]

    def _batch(self, reference: str, loaded: LoadedModel, most: int) -> Outcomes:
        """Read at most so many questions, until their rows fill a batch, and answer them."""
        outcomes, batch, requests = self._read(reference, loaded, most)
        return outcomes + self._answer(loaded, batch, requests)

    def _read(
        self, reference: str, loaded: LoadedModel, most: int
    ) -> tuple[Outcomes, list[Asked], list[PredictRequest]]:
        """Return what became of questions that are not answered in line, and a batch of those that are."""
        outcomes: Outcomes = []
        batch: list[Asked] = []
        requests: list[PredictRequest] = []
        room = self._settings.predict_batch_rows
        line = self._lines[reference]  # nobody else takes from it, and who comes stands behind those
        for _ in range(most):
            if room <= 0:
                break
            asked = line.popleft()
            try:
                request = asked.question.read(loaded)
            except Exception as error:
                outcomes.append((asked, error))
                continue
            if not is_light(loaded, request, self._settings):
                self._heavy.submit(self._answer_alone, loaded, asked, request)
                continue
            batch.append(asked)
            requests.append(request)
            room -= len(request.rows)
        return outcomes, batch, requests

    def _answer(self, loaded: LoadedModel, batch: Sequence[Asked], requests: Sequence[PredictRequest]) -> Outcomes:
        if not batch:
            return []
        try:
            with self._quickness.timed(loaded, requests):
                found = answer_together(loaded, requests, self._settings)
        except Exception as error:
            return [(asked, error) for asked in batch]
        return [(asked, _written(asked.question, loaded, outcome)) for asked, outcome in zip(batch, found, strict=True)]

    def _alone(self, reference: str, asked: Asked) -> None:
        try:
            loaded = self._models.find(reference)
            request = asked.question.read(loaded)
        except Exception as error:
            deliver([(asked, error)])
        else:
            self._answer_alone(loaded, asked, request)

    def _answer_alone(self, loaded: LoadedModel, asked: Asked, request: PredictRequest) -> None:
        deliver(self._answer(loaded, [asked], [request]))


def _written(question: Question[Any], loaded: LoadedModel, outcome: PredictAnswer | TrainyardError) -> Any:
    if isinstance(outcome, TrainyardError):
        return outcome
    try:
        return question.write(loaded, outcome)
    except Exception as error:
        return error
