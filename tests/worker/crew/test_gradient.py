"""Passes that two or three real processes share, against the same passes of one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from service.blocks.schedules import Horizon
from service.network import build_network, materialize
from service.settings import Settings
from service.spec import JobSpec
from service.store.engine import Store
from tests.support.every_block import DATA, STEPS, Case, specification
from tests.worker.runs import put
from worker.crew.orders import Work
from worker.crew.owner import Owner
from worker.data import TrainingData, load
from worker.training.batches import Batches
from worker.training.step import Step

CPU = torch.device("cpu")
EPOCHS = 2
NORM = {"type": "batch_norm"}
HEAD = [{"type": "flatten"}, {"type": "dense", "units": "auto"}]
HIDDEN = [{"type": "dense", "units": 6}, {"type": "dense", "units": "auto"}]
THAWING: list[dict[str, Any]] = [
    {"type": "dense", "units": 6, "trainable": False, "unfreeze_at_epoch": 2, "regularizer": {"l2": 0.01}},
    {"type": "batch_norm", "trainable": False, "unfreeze_at_epoch": 2},
    {"type": "dropout", "rate": 0.3},
    {"type": "dense", "units": "auto", "learning_rate_factor": 0.5},
]
WAYS: list[tuple[str, dict[str, Any]]] = [
    (
        "table",
        {"optimizer": "adam", "regularization": {"clip_value": 0.05, "clip_norm": 0.1, "max_norm": 1.0}},
    ),
    ("table", {"training": {"batch_size": 5, "accumulate": 3}, "optimizer": {"type": "sgd", "momentum": 0.9}}),
    ("table", {"training": {"batch_size": "all"}, "optimizer": {"type": "lbfgs", "iterations": 3}}),
    ("table", {"regularization": {"mixing": "mixup"}, "data": {"augmentation": {"type": "random_noise", "std": 0.1}}}),
    ("table", {"loss": {"type": "cross_entropy", "class_weights": {"a": 3.0}}, "training": {"batch_size": 7}}),
    ("table", {"network": {"layers": THAWING}, "schedule": {"type": "simulated_annealing", "temperature": 0.01}}),
    ("table", {"network": {"regularizer": {"activity_l1": 0.01}, "constraint": {"non_negative": True}}}),
    ("images", {"network": {"layers": [{"type": "conv2d", "filters": 4, "kernel_size": 3}, NORM, *HEAD]}}),
    ("volumes", {"network": {"layers": [NORM, {"type": "spatial_dropout", "rate": 0.5}, *HEAD]}}),
    ("sequences", {"network": {"layers": [{"type": "lstm", "units": 5, "dropout": 0.3}, NORM, *HEAD]}}),
    ("sequences", {"network": {"layers": [{"type": "multi_head_attention", "heads": 2, "dropout": 0.3}, *HEAD]}}),
    ("table", {"network": {"layers": [{"type": "gaussian_noise", "std": 0.3}, *HIDDEN], "activation": "rrelu"}}),
    # A last batch of two rows, which is the owner's alone.
    ("table", {"network": {"layers": [{"type": "dense", "units": 6}, NORM, *HEAD]}, "training": {"batch_size": 17}}),
]


@pytest.fixture(scope="module")
def crew() -> Iterator[Owner]:
    """A crew of three, and nobody may end before the tests do."""
    endings: list[Any] = []
    with Owner([CPU] * 3, endings.append) as owner:
        yield owner
    assert endings == []


@pytest.fixture
def loaded(sqlite_store: Store, settings: Settings, tmp_path: Path) -> Callable[[Case], tuple[JobSpec, TrainingData]]:
    def of(case: Case) -> tuple[JobSpec, TrainingData]:
        kind, content = DATA[case.data]
        dataset = put(sqlite_store, tmp_path / "data", content, kind)
        spec = JobSpec.model_validate({**case.spec, "data": {**case.spec["data"], "dataset": dataset.id}})
        return spec, load(sqlite_store, dataset, spec)

    return of


def trained(spec: JobSpec, data: TrainingData, crew: Owner | None) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return losses and outputs of every step, and the weights, after two epochs."""
    network = build_network(
        spec.network, spec.regularization, data.input_shape, data.outputs, vocabulary=data.vocabulary
    )
    batches = Batches(data, spec.training, network.has_batch_norm)
    network, horizon = materialize(network, 0), Horizon(batches.steps, STEPS)
    step = Step(network, spec, CPU, horizon, batches.rows_of_batch, crew=crew)
    if crew is not None:
        crew.begin(Work.of(spec, data, horizon, batches.rows_of_batch))
    seen: list[Tensor] = []
    for epoch in range(EPOCHS):
        step.begin()
        step.enter(epoch)
        for number, batch in enumerate(batches.of(epoch), epoch * batches.steps):
            seen += step(batch, number)
        step.end()
    return seen, network.state_dict()


# Adam makes steps of what should be 0 and is rounding, as the gradient of a bias before a normalisation.
CASES = [
    Case(f"{source}-{number}", source, specification(source, **{"optimizer": "sgd", **ways}))
    for number, (source, ways) in enumerate(WAYS)
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_several_processes_train_as_one_does_to_rounding(case: Case, loaded: Any, crew: Owner) -> None:
    spec, data = loaded(case)
    alone, together, again = trained(spec, data, None), trained(spec, data, crew), trained(spec, data, crew)
    torch.testing.assert_close(together[0], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1], alone[1], rtol=1e-3, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(again[0], together[0], strict=True))
    assert all(torch.equal(again[1][name], value) for name, value in together[1].items())
