"""Micro-batching: who comes together is answered together, as if alone; nobody waits who need not."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from service.errors import InvalidInput, InvalidRows, NotFound, Problem, TooLarge
from service.predict import batching
from service.predict.batching import Batcher
from service.predict.cache import LoadedModel, ModelCache
from service.predict.messages import PredictAnswer, PredictRequest
from service.predict.predict import predict
from service.predict.together import answer_together, is_light
from service.settings import Settings
from service.store.engine import Store
from tests.chaos.fleet import until
from tests.service.predict.asking import SETTINGS, Load

ROUNDING = {"rtol": 2e-4, "atol": 1e-6}
"""What is promised of an answer beside others: equal but for the rounding of float32."""


@dataclass
class Ask:
    """A question that notes with which threads and which others it was answered."""

    request: PredictRequest | Exception
    held_up_by: threading.Event | None = None
    begun: threading.Event = field(default_factory=threading.Event)
    thread: str = ""

    def read(self, loaded: LoadedModel) -> PredictRequest:
        self.thread = threading.current_thread().name
        self.begun.set()
        if self.held_up_by is not None:
            assert self.held_up_by.wait(20)
        if isinstance(self.request, Exception):
            raise self.request
        return self.request

    def write(self, loaded: LoadedModel, answer: PredictAnswer) -> PredictAnswer:
        return answer


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each batch had."""
    found: list[int] = []

    def noting(loaded: LoadedModel, requests: Any, settings: Settings) -> Any:
        found.append(len(requests))
        return answer_together(loaded, requests, settings)

    monkeypatch.setattr(batching, "answer_together", noting)
    return found


@contextmanager
def batcher(store: Store, **settings: Any) -> Iterator[Batcher]:
    chosen = Settings(**settings)
    found = Batcher(ModelCache(store, chosen.model_cache_bytes), chosen)
    try:
        yield found
    finally:
        found.close()


def rows_of(count: int, seed: int = 0) -> list[list[float]]:
    return np.random.default_rng(seed).normal(size=(count, 13)).tolist()


def numbers(value: Any) -> Any:
    """Every number of an answer, in its order; what is no number must be equal as it is."""
    if isinstance(value, dict):
        return [numbers(part) for part in value.values()]
    return [numbers(part) for part in value] if isinstance(value, list) else value


def flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in flat(part)] if isinstance(value, list) else [value]


def assert_the_same(found: PredictAnswer, alone: PredictAnswer) -> None:
    assert found.model_dump(exclude={"predictions"}) == alone.model_dump(exclude={"predictions"})
    a, b = flat(numbers(found.predictions)), flat(numbers(alone.predictions))
    assert [type(value) for value in a] == [type(value) for value in b]
    pairs = list(zip(a, b, strict=True))
    assert [x for x, _ in pairs if not isinstance(x, float)] == [y for _, y in pairs if not isinstance(y, float)]
    floats = np.array([(x, y) for x, y in pairs if isinstance(x, float)])
    np.testing.assert_allclose(floats[:, 0], floats[:, 1], **ROUNDING)


options = st.fixed_dictionaries(
    {
        "count": st.integers(1, 5),
        "mc_samples": st.sampled_from([0, 7, 20]),
        "seed": st.integers(0, 2),
        "return_samples": st.booleans(),
        "quantiles": st.sampled_from([[], [0.5], [0.05, 1]]),
    }
)


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_answers_beside_others_are_those_of_the_lone_request(
    name: str, request: pytest.FixtureRequest, loaded: Load
) -> None:
    """Whatever stands beside a request, wherever in the merged batch its rows come to be."""
    model = loaded(request.getfixturevalue(name))
    columns = len(model.features.columns)

    @given(st.lists(options, min_size=1, max_size=8), st.integers(0, 2**32))
    @hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(asked: list[dict[str, Any]], seed: int) -> None:
        chance = np.random.default_rng(seed)
        rows = [chance.normal(size=(one.pop("count"), columns)).tolist() for one in asked]
        requests = [PredictRequest(rows=part, **one) for part, one in zip(rows, asked, strict=True)]
        found = answer_together(model, requests, SETTINGS)
        for answer, one in zip(found, requests, strict=True):
            assert isinstance(answer, PredictAnswer)
            assert_the_same(answer, predict(model, one, SETTINGS))

    check()


def test_bad_rows_of_one_are_no_matter_of_the_others(loaded: Load, wine: Any) -> None:
    model = loaded(wine)
    good = [PredictRequest(rows=rows_of(2, seed)) for seed in range(2)]
    bad = PredictRequest(rows=[[0.0] * 13, [0.0] * 12])
    first, wrong, second = answer_together(model, [good[0], bad, good[1]], SETTINGS)
    assert isinstance(wrong, InvalidRows) and wrong.problems[0].path == "rows[1]"
    for found, one in ((first, good[0]), (second, good[1])):
        assert isinstance(found, PredictAnswer)
        assert_the_same(found, predict(model, one, SETTINGS))


def test_limits_are_for_each_request_by_itself(loaded: Load, wine: Any) -> None:
    model = loaded(wine)
    tight = Settings(max_answer_values=3 * 20 * 4)
    fits = PredictRequest(rows=rows_of(4), mc_samples=20, return_samples=True)
    large = PredictRequest(rows=rows_of(5), mc_samples=20, return_samples=True)
    first, second, third = answer_together(model, [fits, large, fits], tight)
    assert isinstance(first, PredictAnswer) and isinstance(third, PredictAnswer)
    assert isinstance(second, TooLarge)


def test_what_takes_long_is_not_light(loaded: Load, wine: Any) -> None:
    model = loaded(wine)
    assert is_light(model, PredictRequest(rows=rows_of(256)), SETTINGS)
    assert not is_light(model, PredictRequest(rows=rows_of(257)), SETTINGS)
    assert not is_light(model, PredictRequest(rows=rows_of(10), mc_samples=100_000), SETTINGS)


def test_who_comes_while_the_model_is_busy_is_answered_together(
    sqlite_store: Store, wine: Any, sizes: list[int]
) -> None:
    model = wine.insert(sqlite_store)
    go = threading.Event()
    first = Ask(PredictRequest(rows=rows_of(1)), held_up_by=go)
    others = [Ask(PredictRequest(rows=rows_of(1 + seed, seed))) for seed in range(9)]

    async def run(house: Batcher) -> list[PredictAnswer]:
        tasks = [asyncio.create_task(house.ask(model, first, 1))]
        await asyncio.to_thread(first.begun.wait, 20)
        tasks += [asyncio.create_task(house.ask(model, one, 1)) for one in others]
        await asyncio.sleep(0.01)
        go.set()
        return await asyncio.gather(*tasks)

    with batcher(sqlite_store, predict_batch_rows=30) as house:
        answers = asyncio.run(run(house))
        loaded = house._models.find(model)
    # 1 + 2 + .. + 8 rows are more than 30: the batch is full with the eighth, and the ninth is the next.
    assert sizes == [1, 8, 1]
    for answer, one in zip(answers, [first, *others], strict=True):
        assert isinstance(one.request, PredictRequest)
        assert_the_same(answer, predict(loaded, one.request, SETTINGS))


def test_batches_of_one_row_are_never_merged(sqlite_store: Store, wine: Any, sizes: list[int]) -> None:
    model = wine.insert(sqlite_store)

    async def run(house: Batcher) -> Any:
        return await asyncio.gather(*(house.ask(model, Ask(PredictRequest(rows=rows_of(1))), 1) for _ in range(20)))

    with batcher(sqlite_store, predict_batch_rows=1) as house:
        answers = asyncio.run(run(house))
        alone = predict(house._models.find(model), PredictRequest(rows=rows_of(1)), SETTINGS)
    assert sizes == [1] * 20
    assert {answer.encode() for answer in answers} == {alone.encode()}, "bit for bit, since nobody stands beside it"


@pytest.mark.parametrize(("behind", "waits"), [(0, False), (1, False), (3, True)])
def test_only_those_in_company_wait_for_more_of_it(
    sqlite_store: Store, wine: Any, sizes: list[int], behind: int, waits: bool
) -> None:
    """One request is being answered, and so many stand behind it."""
    model = wine.insert(sqlite_store)
    go = threading.Event()
    first = Ask(PredictRequest(rows=rows_of(1)), held_up_by=go)

    async def run(house: Batcher) -> float:
        tasks = [asyncio.create_task(house.ask(model, first, 1))]
        await asyncio.to_thread(first.begun.wait, 20)
        others = [Ask(PredictRequest(rows=rows_of(1), mc_samples=0)) for _ in range(behind)]
        tasks += [asyncio.create_task(house.ask(model, one, 1)) for one in others]
        await asyncio.sleep(0.01)
        start = time.monotonic()
        go.set()
        await asyncio.gather(*tasks)
        return time.monotonic() - start

    with batcher(sqlite_store, predict_wait_seconds=0.8) as house:
        taken = asyncio.run(run(house))
    assert sizes == [1, behind][: 1 + bool(behind)]
    assert (taken > 0.7) == waits


def test_a_long_request_holds_nobody_up(sqlite_store: Store, wine: Any) -> None:
    model = wine.insert(sqlite_store)
    go = threading.Event()
    long = Ask(PredictRequest(rows=rows_of(1)), held_up_by=go)
    short = Ask(PredictRequest(rows=rows_of(1)))

    async def run(house: Batcher) -> None:
        waiting = asyncio.create_task(house.ask(model, long, batching.LONG_BODY + 1))
        await asyncio.to_thread(long.begun.wait, 20)
        await house.ask(model, short, 1)
        assert not waiting.done()
        go.set()
        await waiting
        much = Ask(PredictRequest(rows=rows_of(300)))
        assert len((await house.ask(model, much, 1)).predictions) == 300

    with batcher(sqlite_store) as house:
        asyncio.run(run(house))
    assert "long" in long.thread and "long" not in short.thread


def test_a_model_that_is_busy_holds_up_no_other(sqlite_store: Store, wine: Any) -> None:
    busy, idle = wine.insert(sqlite_store), wine.insert(sqlite_store)
    go = threading.Event()
    first = Ask(PredictRequest(rows=rows_of(1)), held_up_by=go)

    async def run(house: Batcher) -> None:
        waiting = asyncio.create_task(house.ask(busy, first, 1))
        await asyncio.to_thread(first.begun.wait, 20)
        await house.ask(idle, Ask(PredictRequest(rows=rows_of(1))), 1)
        assert not waiting.done()
        go.set()
        await waiting

    with batcher(sqlite_store) as house:
        asyncio.run(run(house))


def test_the_event_loop_goes_on_meanwhile(sqlite_store: Store, wine: Any) -> None:
    """While threads are kept busy with large requests, the loop is never away for long."""
    model = wine.insert(sqlite_store)
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            start = time.monotonic()
            await asyncio.sleep(0)
            gaps.append(time.monotonic() - start)

    async def run(house: Batcher) -> None:
        watcher = asyncio.create_task(watch())
        heavy = [Ask(PredictRequest(rows=rows_of(2000, seed), mc_samples=200)) for seed in range(3)]
        await asyncio.gather(*(house.ask(model, one, 1) for one in heavy))
        watcher.cancel()

    with batcher(sqlite_store) as house:
        asyncio.run(run(house))
    assert len(gaps) > 50
    assert sorted(gaps)[int(0.9 * len(gaps))] < 0.1


def test_quick_batches_are_answered_on_the_event_loop_and_others_by_threads(sqlite_store: Store, wine: Any) -> None:
    model = wine.insert(sqlite_store)
    request = PredictRequest(rows=rows_of(1), mc_samples=10, seed=3)
    cold, asked = Ask(request), Ask(request)
    together = [Ask(request) for _ in range(2)]
    large, wrong = Ask(PredictRequest(rows=rows_of(20), mc_samples=200)), Ask(PredictRequest(rows=[[1.0]]))

    async def run(house: Batcher) -> list[Any]:
        answers = [await house.ask(model, cold, 1)]
        while not house._quickness.is_quick(house._models.get(model), [request]):
            await house.ask(model, Ask(request), 1)
        while house._lines:  # the thread looks once more whether anybody has come
            await asyncio.sleep(0)
        answers.append(await house.ask(model, asked, 1))
        answers += await asyncio.gather(*(house.ask(model, one, 1) for one in together))
        with pytest.raises(InvalidRows):
            await house.ask(model, wrong, 1)
        gone = asyncio.create_task(house.ask(model, Ask(request), 1))
        await asyncio.sleep(0)
        gone.cancel()
        assert len((await house.ask(model, large, 1)).predictions) == 20
        for long in ((batching.SHORT_BODY + 1,), (1, batching.SHORT_BODY + 1), (batching.SHORT_BODY + 1, 1)):
            while house._lines:
                await asyncio.sleep(0)
            unread = [Ask(request) for _ in long]
            await asyncio.gather(*(house.ask(model, one, size) for one, size in zip(unread, long, strict=True)))
            assert all(one.thread.startswith("predict") for one in unread)
        return answers

    with batcher(sqlite_store) as house:
        first, *rest = asyncio.run(run(house))
    assert cold.thread.startswith("predict")  # nothing is known of the model yet, nor is it in memory
    here = threading.current_thread().name
    assert [one.thread for one in [asked, *together, wrong]] == [here] * 4
    for answer in rest:
        assert_the_same(answer, first)


@pytest.mark.parametrize(("rows", "seconds", "expected"), [(256, 20.0, [5, 1]), (3, 20.0, [3, 2, 1]), (256, 0, None)])
def test_who_arrives_turn_by_turn_of_the_loop_is_answered_together_with_the_first(
    sqlite_store: Store, wine: Any, sizes: list[int], monkeypatch: pytest.MonkeyPatch,
    rows: int, seconds: float, expected: list[int] | None,
) -> None:  # fmt: skip
    """Five come one turn after the other, and a sixth two turns later; at most `seconds` the first stands in line."""
    monkeypatch.setattr(batching, "GATHER_SECONDS", seconds)
    model = wine.insert(sqlite_store)
    request = PredictRequest(rows=rows_of(1), mc_samples=10)

    async def run(house: Batcher) -> None:
        while not house._quickness.is_quick(house._models.find(model), [request] * 5):
            await asyncio.gather(*(house.ask(model, Ask(request), 1) for _ in range(3)))
        while house._lines:
            await asyncio.sleep(0)
        sizes.clear()
        tasks = []
        for pause in (0, 0, 0, 0, 2, 0):
            tasks.append(asyncio.create_task(house.ask(model, Ask(request), 1)))
            for _ in range(1 + pause):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    with batcher(sqlite_store, predict_batch_rows=rows) as house:
        asyncio.run(run(house))
    assert sum(sizes) == 6
    if expected is None:
        assert sizes[0] < 5, "who came first was not made to wait for all of them"
    else:
        assert sizes == expected


def test_the_event_loop_asks_no_database(sqlite_store: Store, wine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants to know whether the model is still there, or where an alias leads, does so in a thread."""
    monkeypatch.setattr("service.predict.cache.TRUSTED_SECONDS", -1.0)
    model = wine.insert(sqlite_store)
    asked = [Ask(PredictRequest(rows=rows_of(1))) for _ in range(4)]

    async def run(house: Batcher) -> None:
        for one in asked:
            await house.ask(model, one, 1)

    with batcher(sqlite_store) as house:
        asyncio.run(run(house))
    assert all(one.thread.startswith("predict") for one in asked)


def test_who_is_wrong_is_told_alone(sqlite_store: Store, wine: Any) -> None:
    model = wine.insert(sqlite_store)
    go = threading.Event()
    first = Ask(PredictRequest(rows=rows_of(1)), held_up_by=go)
    unreadable = Ask(InvalidInput([Problem("rows", "is missing")]))
    broken = Ask(ZeroDivisionError())
    fine = Ask(PredictRequest(rows=rows_of(1)))

    async def run(house: Batcher) -> list[Any]:
        tasks = [asyncio.create_task(house.ask(model, first, 1))]
        await asyncio.to_thread(first.begun.wait, 20)
        tasks += [asyncio.create_task(house.ask(model, one, 1)) for one in (unreadable, broken, fine)]
        await asyncio.sleep(0.01)
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with batcher(sqlite_store) as house:
        ok, wrong, fault, also_ok = asyncio.run(run(house))
    assert isinstance(ok, PredictAnswer) and isinstance(also_ok, PredictAnswer)
    assert isinstance(wrong, InvalidInput) and isinstance(fault, ZeroDivisionError)


@pytest.mark.parametrize("size", [1, batching.LONG_BODY + 1])
def test_a_model_that_is_not_there_is_not_found_and_the_line_goes_on(sqlite_store: Store, wine: Any, size: int) -> None:
    async def run(house: Batcher) -> None:
        for reference in ("mdl_" + "0" * 26, "no@body"):
            for _ in range(2):
                with pytest.raises(NotFound):
                    await house.ask(reference, Ask(PredictRequest(rows=rows_of(1))), size)

    with batcher(sqlite_store) as house:
        asyncio.run(run(house))
        until(lambda: not house._lines, "a line is left", 10)


def test_nobody_is_answered_who_has_gone(sqlite_store: Store, wine: Any) -> None:
    model = wine.insert(sqlite_store)
    go = threading.Event()
    gone, here = Ask(PredictRequest(rows=rows_of(1)), held_up_by=go), Ask(PredictRequest(rows=rows_of(1)))

    async def run(house: Batcher) -> None:
        leaving = asyncio.create_task(house.ask(model, gone, 1))
        await asyncio.to_thread(gone.begun.wait, 20)
        leaving.cancel()
        staying = asyncio.create_task(house.ask(model, here, 1))
        await asyncio.sleep(0.01)
        go.set()
        await staying

    with batcher(sqlite_store) as house:
        asyncio.run(run(house))
