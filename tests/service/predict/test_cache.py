"""Models in memory: read once, dropped by bytes, gone when the store says so."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from sqlalchemy import event, update

from service.errors import CorruptBlob, NotFound
from service.predict.cache import OVERHEAD_BYTES, TRUSTED_SECONDS, ModelCache, load
from service.store import models
from service.store.engine import Store
from service.store.tables import Chunk

PLENTY = 1 << 30


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """Gather the statements that the store runs."""
    seen: list[str] = []

    def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(store.engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(store.engine, "before_cursor_execute", look)


def test_a_model_comes_back_as_it_was_stored(store: Store, wine: Any) -> None:
    loaded = ModelCache(store, PLENTY).get(wine.insert(store))
    assert loaded.spec.canonical() == wine.row["spec"]
    assert loaded.target.classes == ("class_0", "class_1", "class_2")
    assert len(loaded.features.columns) == 13 and loaded.outputs == 3
    assert loaded.monte_carlo.stochastic_layers == ["dropout_1", "dropout_3"]
    assert loaded.device == torch.device("cpu")
    assert loaded.size == wine.row["parameters"] * 4 + OVERHEAD_BYTES


def test_buffers_come_back_too(sqlite_store: Store, digits: Any) -> None:
    network = load(sqlite_store, digits.insert(sqlite_store)).monte_carlo.network
    buffers = dict(network.named_buffers())
    assert buffers["layers.batch_norm_1.num_batches_tracked"] > 0
    assert not torch.equal(buffers["layers.batch_norm_1.running_mean"], torch.zeros(8))
    assert not network.training


def test_a_model_is_read_once(sqlite_store: Store, wine: Any) -> None:
    cache, model = ModelCache(sqlite_store, PLENTY), wine.insert(sqlite_store)
    first = cache.get(model)
    with statements(sqlite_store) as seen:
        assert cache.get(model) is first
    assert not seen


def test_many_threads_read_a_model_once(sqlite_store: Store, wine: Any) -> None:
    cache, model, barrier = ModelCache(sqlite_store, PLENTY), wine.insert(sqlite_store), threading.Barrier(8)
    found: list[Any] = []

    def ask() -> None:
        barrier.wait(10)
        found.append(cache.get(model))

    with statements(sqlite_store) as seen:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8 and len({id(loaded) for loaded in found}) == 1
    assert len([statement for statement in seen if "chunks.data" in statement]) == 1


def test_the_least_recently_used_leaves_first(sqlite_store: Store, wine: Any) -> None:
    a, b, c = (wine.insert(sqlite_store) for _ in range(3))
    size = load(sqlite_store, a).size
    cache = ModelCache(sqlite_store, 2 * size)
    first, second = cache.get(a), cache.get(b)
    assert cache.held_bytes == 2 * size
    assert cache.get(a) is first
    third = cache.get(c)
    assert cache.held_bytes == 2 * size
    assert cache.get(a) is first and cache.get(c) is third
    assert cache.get(b) is not second


def test_a_model_larger_than_the_cache_is_answered_but_not_held(sqlite_store: Store, wine: Any) -> None:
    model = wine.insert(sqlite_store)
    cache = ModelCache(sqlite_store, 0)
    assert cache.get(model).id == model
    assert cache.held_bytes == 0


def test_a_forgotten_model_is_read_again(sqlite_store: Store, wine: Any) -> None:
    cache, model = ModelCache(sqlite_store, PLENTY), wine.insert(sqlite_store)
    first = cache.get(model)
    cache.forget(model)
    cache.forget("mdl_never_there")
    assert cache.held_bytes == 0
    assert cache.get(model) is not first


def test_a_model_that_another_process_deletes_is_gone_within_a_second(sqlite_store: Store, wine: Any) -> None:
    clock, model = Clock(), wine.insert(sqlite_store)
    cache = ModelCache(sqlite_store, PLENTY, clock)
    first = cache.get(model)
    clock.now += 2 * TRUSTED_SECONDS
    assert cache.get(model) is first, "it is still in the store"
    with sqlite_store.begin() as session:
        models.delete(session, model)
    clock.now += 2 * TRUSTED_SECONDS
    with pytest.raises(NotFound, match=model):
        cache.get(model)
    assert cache.held_bytes == 0


def test_an_unknown_model_is_not_found_and_not_remembered(sqlite_store: Store, wine: Any) -> None:
    cache = ModelCache(sqlite_store, PLENTY)
    for _ in range(2):
        with pytest.raises(NotFound):
            cache.get("mdl_00000000000000000000000000")


def test_rotten_weights_are_refused_and_tried_again(sqlite_store: Store, wine: Any) -> None:
    cache, model = ModelCache(sqlite_store, PLENTY), wine.insert(sqlite_store)
    with sqlite_store.begin() as session:
        session.execute(update(Chunk).values(data=b"rotten"))
    for _ in range(2):
        with pytest.raises(CorruptBlob):
            cache.get(model)
    mended = wine.insert(sqlite_store)  # the same bytes again mend the chunk that both models share
    assert cache.get(model).id == model and cache.get(mended).id == mended
