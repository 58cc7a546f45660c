"""Jobs that differ in more than the seed, trained together and alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.settings import Settings
from service.spec import JobSpec
from service.store.engine import Store
from tests.support.every_block import DATA, specification
from tests.worker.packed.packs import alone, assert_alike, together
from tests.worker.packed.test_step import CLOSE
from tests.worker.runs import put
from worker.data import TrainingData, load
from worker.packed.variants import Variant, Variants

LAYERS: list[dict[str, Any]] = [
    {"type": "dense", "units": 6, "activation": "relu"},
    {"type": "dropout", "rate": 0.2},
    {"type": "dense", "units": 4, "regularizer": {"l1": 0.01, "activity_l2": 0.01}},
    {"type": "dropout", "rate": 0.1},
    {"type": "dense", "units": "auto", "learning_rate_factor": 0.5},
]
OPTIMIZERS: list[dict[str, Any]] = [
    {"type": "sgd", "momentum": 0.9},
    {"type": "adam"},
    {"type": "adamw", "weight_decay": 0.5},
    {"type": "lion", "weight_decay": 0.5},
    {"type": "nadam"},
    {"type": "rmsprop", "momentum": 0.5},
]
DIFFERENT = {
    "seed": {"training": {"seed": 7}},
    "learning rate": {"optimizer": {"type": "adam", "learning_rate": 0.003}},
    "penalties": {"regularization": {"l2": 0.05, "l1": 0.02}},
    "split": {"data": {"split": {"validation": 0.25, "seed": 11}}},
}


@pytest.fixture
def data_of(sqlite_store: Store, settings: Settings, tmp_path: Path) -> Any:
    kind, content = DATA["table"]
    dataset = put(sqlite_store, tmp_path / "data", content, kind)

    def of(**sections: Any) -> tuple[JobSpec, TrainingData]:
        value = specification("table", network={"layers": LAYERS})
        for name, section in sections.items():
            value[name] = {**value.get(name, {}), **section}
        value["data"] = {**value["data"], "dataset": dataset.id, "preprocessing": ["standardize"]}
        spec = JobSpec.model_validate(value)
        return spec, load(sqlite_store, dataset, spec)

    return of


def layers_with(rate: float, l1: float) -> dict[str, Any]:
    changed = [dict(layer) for layer in LAYERS]
    changed[1]["rate"] = rate
    changed[2]["regularizer"] = {"l1": l1, "activity_l2": 0.01}
    return {"layers": changed}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o["type"])
def test_jobs_of_different_rates_penalties_dropouts_and_folds_give_what_they_give_alone(
    optimizer: dict[str, Any], data_of: Any
) -> None:
    several = [
        {"optimizer": {**optimizer, "learning_rate": 0.002}},
        {"optimizer": {**optimizer, "learning_rate": 0.01}, "regularization": {"l2": 0.03}, "training": {"seed": 5}},
        {
            "optimizer": {**optimizer, "learning_rate": 0.005},
            "network": layers_with(0.4, 0.0),
            "data": {"split": {"validation": 0.25, "seed": 9}},
        },
    ]
    jobs = [data_of(**sections) for sections in several]
    variants = Variants.of([Variant(number, *job) for number, job in enumerate(jobs)])
    stacked, pack = together(variants)
    assert pack.replays and not variants.shares_rows
    assert_alike(stacked, [alone(spec, data) for spec, data in jobs], **CLOSE)


def test_a_plateau_may_lower_the_rate_of_one_job_alone(data_of: Any) -> None:
    spec, data = data_of(schedule={"type": "reduce_on_plateau"})
    variants = Variants.of([Variant(0, spec, data), Variant(1, spec, data)])
    (_, losses), pack = together(variants)
    assert torch.equal(losses[0], losses[1])
    pack.reductions = [1.0, 0.5]
    assert pack.learning_rates(0) == [0.001, 0.0005]


@pytest.mark.parametrize("name", DIFFERENT)
def test_jobs_may_differ_in(name: str, data_of: Any) -> None:
    first, other = data_of(), data_of(**DIFFERENT[name])
    assert len(Variants.of([Variant(0, *first), Variant(1, *other)])) == 2


@pytest.mark.parametrize(
    "sections",
    [
        {"optimizer": {"type": "sgd"}},
        {"loss": {"type": "cross_entropy", "label_smoothing": 0.1}},
        {"network": {"layers": [*LAYERS[:-1], {"type": "dense", "units": "auto", "activation": "tanh"}]}},
        {"network": layers_with(0.0, 0.01)},
        {"training": {"batch_size": 4}},
        {"regularization": {"clip_norm": 1.0}},
    ],
    ids=str,
)
def test_jobs_of_different_shapes_do_not_train_together(sections: dict[str, Any], data_of: Any) -> None:
    spec, data = data_of()
    value = {**spec.canonical(), **{k: {**spec.canonical()[k], **v} for k, v in sections.items() if k != "optimizer"}}
    value |= {name: section for name, section in sections.items() if name == "optimizer"}
    with pytest.raises(ValueError, match="jobs 0 and 1 are of different shapes"):
        Variants.of([Variant(0, spec, data), Variant(1, JobSpec.model_validate(value), data)])


def test_jobs_of_different_numbers_of_rows_do_not_train_together(data_of: Any) -> None:
    spec, data = data_of()
    fewer = replace(data, train=data.train[1:])
    with pytest.raises(ValueError, match="different numbers of rows"):
        Variants.of([Variant(0, spec, data), Variant(1, spec, fewer)])
