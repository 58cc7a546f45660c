"""Compiled steps against the same as they are written, and what happens where nothing can be compiled."""

import copy
from typing import Any

import pytest
import torch
import torch._inductor.config as inductor

from service.blocks.schedules import Horizon
from service.network import build_network, materialize
from service.settings import Settings
from service.spec import JobSpec
from service.store import events
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.runs import attempt, changed, outcome, queue
from worker.rows import Batch
from worker.training.step import Step

CPU = torch.device("cpu")
LAYERS = [
    {"type": "dense", "units": 6, "activation": "tanh", "regularizer": {"l2": 0.01, "activity_l1": 0.01}},
    "batch_norm",
    {"type": "dropout", "rate": 0.4},
    {"type": "dense", "units": "auto"},
]


def losses(compiles: bool) -> tuple[list[torch.Tensor], dict[str, torch.Tensor], Step]:
    spec = changed(network={"layers": LAYERS}, training={"compile": compiles}, optimizer="sgd", schedule="constant")
    spec["data"]["dataset"] = "ds_" + "0" * 26
    job = JobSpec.model_validate(spec)
    network = materialize(build_network(job.network, job.regularization, (4,), 3), 1)
    step = Step(network, job, CPU, Horizon(10, 100), 100)
    step.begin()
    found = []
    for number in range(3):
        source = torch.Generator().manual_seed(number)
        rows = Batch(torch.randn(12, 4, generator=source), torch.randint(3, (12,), generator=source))
        found += step(rows, number)
    step.end()
    return found, network.state_dict(), step


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_a_compiled_step_does_what_the_step_does() -> None:
    plain, compiled = losses(False), losses(True)
    assert compiled[2].compiled, compiled[2].compile_failure
    for a, b in zip(compiled[0], plain[0], strict=True):
        torch.testing.assert_close(a, b)
    assert compiled[1].keys() == plain[1].keys()
    for name, value in plain[1].items():
        torch.testing.assert_close(compiled[1][name], value)


@pytest.mark.filterwarnings("ignore")
def test_without_a_compiler_the_job_is_trained_as_usual_and_says_so(
    sqlite_store: Store, settings: Settings, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inductor.cpp, "cxx", ("/no/such/compiler",))
    runs: list[Any] = []
    for compiles in (False, True):
        job = attempt(sqlite_store, settings, queue(sqlite_store, wine, changed(training={"compile": compiles})))
        assert job.status == "succeeded" and job.receipt and job.receipt["compiled"] is False
        assert job.receipt["deterministic"]
        runs.append(copy.copy(outcome(sqlite_store, job.id)))
    assert runs[0] == runs[1]
    with sqlite_store.read() as session:
        (told,) = [event for event in events.since(session, job.id) if event.type == "compile_failed"]
    assert told.level == "warn" and "/no/such/compiler" in told.message
