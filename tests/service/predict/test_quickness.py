"""What is known of how long batches take."""

import time
from typing import Any

import pytest

from service.predict import quickness
from service.predict.messages import PredictRequest
from service.predict.quickness import QUICK_SECONDS, Quickness
from tests.service.predict.asking import Load

ROW = [0.0] * 13


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the next batches take, by the clock of their thread."""
    seconds: list[float] = []
    monkeypatch.setattr(quickness.time, "thread_time", lambda: seconds.pop(0))
    return seconds


def learn(found: Quickness, loaded: Any, seconds: float, taken: list[float], samples: int) -> None:
    taken[:] = [0.0, seconds]
    with found.timed(loaded, [PredictRequest(rows=[ROW], mc_samples=samples)]):
        pass


def quick(found: Quickness, loaded: Any, samples: int) -> bool:
    return found.is_quick(loaded, [PredictRequest(rows=[ROW], mc_samples=samples)])


def test_what_was_quick_is_believed_to_be_so_twice_as_large(loaded: Load, wine: Any, taken: list[float]) -> None:
    found, model = Quickness(), loaded(wine)
    assert not quick(found, model, 1)
    learn(found, model, QUICK_SECONDS, taken, 10)
    assert quick(found, model, 20) and not quick(found, model, 21)
    learn(found, model, QUICK_SECONDS, taken, 20)
    assert quick(found, model, 40) and not quick(found, model, 41)
    learn(found, model, QUICK_SECONDS / 2, taken, 5)
    assert quick(found, model, 40)


def test_what_was_slow_has_to_be_learned_anew(loaded: Load, wine: Any, taken: list[float]) -> None:
    found, model = Quickness(), loaded(wine)
    learn(found, model, QUICK_SECONDS / 2, taken, 100)
    learn(found, model, 1.0, taken, 1000)  # nobody had believed it to be quick
    assert quick(found, model, 200)
    learn(found, model, 2 * QUICK_SECONDS, taken, 150)
    assert not quick(found, model, 75) and not quick(found, model, 150)


def test_only_so_many_models_are_known(loaded: Load, wine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickness, "MOST_MODELS", 2)
    found, model = Quickness(), loaded(wine)
    for name in "abc":
        found._learn(name, 10, 0.0)
    assert len(found._runs) == 1 and not quick(found, model, 1)


def test_a_processor_is_counted_and_not_the_clock(loaded: Load, wine: Any) -> None:
    """Who waits for others, or for a processor, keeps nobody from answering."""
    found, model = Quickness(), loaded(wine)
    with found.timed(model, [PredictRequest(rows=[ROW], mc_samples=8)]):
        time.sleep(5 * QUICK_SECONDS)
    assert quick(found, model, 8)
