"""Questions to a model on their way through the batcher, and their answers on the way back."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from service.predict.cache import LoadedModel
from service.predict.messages import PredictAnswer, PredictRequest

T = TypeVar("T", covariant=True)


class Question(Protocol[T]):
    """A request as it came over some protocol; its methods run in a thread, or on the event loop if quick."""

    def read(self, loaded: LoadedModel) -> PredictRequest:
        """Return what is asked of the model.

        Raises:
            TrainyardError: It cannot be read.
        """

    def write(self, loaded: LoadedModel, answer: PredictAnswer) -> T:
        """Return the answer in the protocol's form."""


@dataclass(frozen=True)
class Asked:
    """A question, the bytes of its body, when it came, and who waits for the answer."""

    question: Question[Any]
    size: int
    at: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


Outcomes = list[tuple[Asked, Any]]
"""What each question came to: its answer, or the exception that is to be raised."""


def deliver(outcomes: Outcomes) -> None:
    """Hand answers over to the event loop, all at once: to wake it costs more than an answer does."""
    if not outcomes:
        return
    with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
        outcomes[0][0].loop.call_soon_threadsafe(settle, outcomes)


def settle(outcomes: Outcomes) -> None:
    """Give answers to who waits for them, on the event loop."""
    for asked, outcome in outcomes:
        if asked.future.done():
            continue  # nobody waits any more
        if isinstance(outcome, BaseException):
            asked.future.set_exception(outcome)
        else:
            asked.future.set_result(outcome)
