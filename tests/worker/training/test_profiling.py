"""Traces: which steps are in them, how large they become, and that they change nothing."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from service.settings import Settings
from service.store import events, profiles
from service.store.blobs import blob_bytes
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.conftest import AtStep
from tests.worker.runs import attempt, changed, outcome, put, queue
from worker import draining
from worker.training import profiling
from worker.training.profiling import Profiler

CPU = torch.device("cpu")


def traced(profiler: Profiler, epochs: int, steps: int) -> list[int]:
    """Return the numbers of the steps in the trace of a run."""
    for number in range(epochs * steps):
        if (label := profiler.step(number)) is not None:
            with label:
                torch.ones(2).add(1)
        if number % steps == steps - 1:
            profiler.pause()
    profiler.end()
    return numbers(json.loads(gzip.decompress(b"".join(profiler.compressed()))))


def numbers(trace: Any) -> list[int]:
    names = [event["name"] for event in trace["traceEvents"] if event.get("ph") == "X"]
    return sorted(int(name.removeprefix("step ")) for name in names if name.startswith("step "))


@pytest.mark.parametrize(
    ("epochs", "steps", "expected"),
    [
        (2, 100, range(11, 31)),
        (5, 15, range(11, 15)),
        (6, 1, range(3, 4)),
        (1, 1, range(1)),
        (1, 9, range(4, 9)),
    ],
)
def test_a_trace_holds_steps_in_a_row_behind_the_warm_up(epochs: int, steps: int, expected: range) -> None:
    profiler = Profiler(epochs * steps, CPU)
    assert traced(profiler, epochs, steps) == list(expected)
    assert profiler.steps == len(expected)


def test_of_steps_with_many_events_fewer_are_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "MOST_EVENTS", 20)
    assert 2 <= len(traced(Profiler(100, CPU), 1, 100)) < 20


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_job_that_asks_for_it_has_a_profile_and_the_same_result(
    replicas: int, sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    specs = changed(replicas=replicas), changed(replicas=replicas, training={"profile": True})
    plain, profiled = (queue(sqlite_store, wine, spec) for spec in specs)
    for job_id in (plain, profiled):
        attempt(sqlite_store, settings, job_id)
    assert outcome(sqlite_store, plain) == outcome(sqlite_store, profiled)
    with sqlite_store.read() as session:
        assert profiles.find(session, plain) is None
        row = profiles.find(session, profiled)
        assert row is not None
        trace = json.loads(gzip.decompress(blob_bytes(session, row.blob)))
        told = [event.data for event in events.since(session, profiled) if event.type == "profile"]
    assert told == [{"steps": row.steps, "size": row.size}] and len(numbers(trace)) == row.steps > 0
    product = "addmm" if replicas == 1 else "bmm"
    assert any(product in event.get("name", "") for event in trace["traceEvents"])


@pytest.mark.parametrize("step", [5, 12, 30])
def test_a_run_that_is_broken_off_has_one_profile_in_the_end(
    step: int, sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    job_id = queue(sqlite_store, wine, changed(training={"profile": True}))
    at_step(step, draining.drain)
    attempt(sqlite_store, settings, job_id)
    draining.resume()
    at_step(-1, draining.drain)
    attempt(sqlite_store, settings, job_id)
    with sqlite_store.read() as session:
        row = profiles.find(session, job_id)
    assert row is not None and row.attempt == (1 if step == 30 else 2)


def test_the_trace_of_a_large_network_stays_small(
    sqlite_store: Store, settings: Settings, digits_npz: bytes, tmp_path: Path
) -> None:
    digits = put(sqlite_store, tmp_path / "digits", digits_npz, "npz")
    layers = [
        "flatten",
        *[{"type": "dense", "units": 8, "activation": "tanh"}] * 60,
        {"type": "dense", "units": "auto"},
    ]
    spec = changed(network={"layers": layers}, data={"preprocessing": []}, training={"epochs": 1, "profile": True})
    job = attempt(sqlite_store, settings, queue(sqlite_store, digits, spec))
    assert job.status == "succeeded", job.error_message
    with sqlite_store.read() as session:
        row = profiles.find(session, job.id)
    assert row is not None and row.steps == 20 and row.size < 4 << 20
