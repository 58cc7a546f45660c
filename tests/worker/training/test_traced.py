"""Steps that are replayed, against the same steps as they are written: for every block, bit for bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from service.blocks.schedules import Horizon
from service.network import build_network, materialize
from service.spec import JobSpec
from service.store.engine import Store
from service.store.tables import Dataset
from tests.support.every_block import STEPS, Case, cases, specification
from worker.data import TrainingData, load
from worker.training import recorded
from worker.training.batches import Batches
from worker.training.step import Step
from worker.training.tally import Measure, Tally

CPU = torch.device("cpu")
EPOCHS = 2
LOOKS_AT_VALUES = {"metric-brier", "metric-ece", "metric-pr_auc", "metric-roc_auc"}
"""Metrics that count how often which value stands there: how much memory that takes depends on the values."""


def trained(spec: JobSpec, data: TrainingData, records: bool) -> tuple[dict[str, Tensor], list[Tensor], Step, Tally]:
    """Return weights, the outputs and losses of every step, the step and the tally, after two epochs."""
    network = build_network(
        spec.network, spec.regularization, data.input_shape, data.outputs, vocabulary=data.vocabulary
    )
    batches = Batches(data, spec.training, network.has_batch_norm)
    network = materialize(network, 0)
    step = Step(network, spec, CPU, Horizon(batches.steps, STEPS), batches.rows_of_batch, records=records)
    tally = Tally(Measure(spec.loss, spec.metrics, None, records))
    seen, number = [], 0
    for epoch in range(EPOCHS):
        step.begin()
        step.enter(epoch)
        for batch in batches.of(epoch):
            loss, output = step(batch, number)
            tally.add(output, batch.y)
            seen += [loss, output]
            number += 1
        step.end()
    return network.state_dict(), seen, step, tally


@pytest.fixture
def loaded(module_store: Store, data_of_blocks: Callable[[str], Dataset]) -> Any:
    def of(case: Case) -> tuple[JobSpec, TrainingData]:
        dataset = data_of_blocks(case.data)
        spec = JobSpec.model_validate({**case.spec, "data": {**case.spec["data"], "dataset": dataset.id}})
        return spec, load(module_store, dataset, spec)

    return of


THAWING: list[dict[str, Any]] = [
    {"type": "dense", "units": 6, "trainable": False, "unfreeze_at_epoch": 2, "regularizer": {"l2": 0.01}},
    {"type": "batch_norm", "trainable": False},
    {"type": "dense", "units": "auto", "learning_rate_factor": 0.5},
]
WAYS: list[dict[str, Any]] = [
    {"training": {"batch_size": 4, "accumulate": 2}},
    {"training": {"batch_size": "all", "accumulate": 1}, "optimizer": "lbfgs"},
    {"training": {"batch_size": 4, "accumulate": 2}, "optimizer": {"type": "lbfgs", "iterations": 3}},
    {"regularization": {"clip_value": 0.01, "clip_norm": 0.05, "l2": 0.01}},
    {"regularization": {"max_norm": 0.5, "mixing": "mixup"}, "training": {"batch_size": 4, "accumulate": 2}},
    {"regularization": {"l1": 0.01}, "schedule": {"type": "simulated_annealing", "temperature": 0.01}},
    {"loss": {"type": "cross_entropy", "class_weights": {"a": 3.0}}},
    {
        "network": {"layers": THAWING},
        "optimizer": {"type": "sgd", "momentum": 0.9},
        "regularization": {"max_norm": 0.5},
    },
    {"network": {"layers": THAWING}, "optimizer": "lbfgs", "training": {"batch_size": "all"}},
    {"network": {"regularizer": {"activity_l1": 0.01}, "constraint": {"non_negative": True, "unit_norm": True}}},
]


@pytest.mark.parametrize("sections", WAYS, ids=str)
def test_every_way_of_training_replays_the_bits_of_the_step_as_it_is_written(
    sections: dict[str, Any], loaded: Any
) -> None:
    spec, data = loaded(Case("way", "table", specification("table", **sections)))
    assert_same(spec, data)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_replayed_step_gives_the_bits_of_the_step_as_it_is_written(case: Case, loaded: Any) -> None:
    spec, data = loaded(case)
    measure = assert_same(spec, data)
    assert measure.replays == (bool(measure.summing) and case.name not in LOOKS_AT_VALUES)


def assert_same(spec: JobSpec, data: TrainingData) -> Measure:
    """See that replayed steps, recorded just now and found recorded, do what steps do; return what they measured."""
    plain = trained(spec, data, records=False)
    recorded.forget()
    for cached in (False, True):
        replayed = trained(spec, data, records=True)
        assert replayed[0].keys() == plain[0].keys(), cached
        for name, value in plain[0].items():
            assert torch.equal(replayed[0][name], value), (name, cached)
        assert all(torch.equal(a, b) for a, b in zip(replayed[1], plain[1], strict=True)), cached
        assert replayed[3].state() == plain[3].state(), cached
    assert replayed[2].replays
    return replayed[3].measure
