"""Layers that do not learn, or later, or slower: under every optimizer, and through interruptions."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import safetensors.torch
import torch
from torch import Tensor

from service.network import build_network, materialize
from service.problems import parse_spec
from service.settings import Settings
from service.store import checkpoints
from service.store.blobs import blob_bytes
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.runs import SPEC, attempt, changed, outcome, queue, weights_of
from worker import draining
from worker.training.checkpoints import MODEL
from worker.training.checkpoints import part as below

AtStep = Callable[[int, Callable[[], None]], None]
Json = dict[str, Any]
OPTIMIZERS: list[Any] = [
    {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
    {"type": "rmsprop", "momentum": 0.5},
    "adagrad",
    "adadelta",
    {"type": "adam", "learning_rate": 0.01},
    {"type": "adamw", "weight_decay": 0.5},
    "nadam",
    "adamax",
    "amsgrad",
    {"type": "lion", "weight_decay": 0.5},
    {"type": "lbfgs", "iterations": 3},
]
STEPS_OF_EPOCH = 7


def frozen(spec: Json, **fields: Any) -> Json:
    """Freeze the first dense layer and the batch normalisation behind it, which have a constraint and a penalty."""
    spec = copy.deepcopy(spec)
    layers = spec["network"]["layers"]
    layers[0] |= {"regularizer": {"l2": 0.1}, "constraint": {"max_norm": 0.5}, "trainable": False, **fields}
    layers[1] |= {"trainable": False, **fields}
    return spec


def start(spec: Json) -> dict[str, Tensor]:
    """Return the weights that a job on the wines begins with."""
    parsed = parse_spec(orjson.dumps({**spec, "data": {**spec["data"], "dataset": "ds_" + "0" * 26}}))
    network = build_network(parsed.network, parsed.regularization, (13,), 3)
    return dict(materialize(network, parsed.training.seed).state_dict())


def part(weights: dict[str, Tensor], *layers: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.split(".")[1] in layers}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether tensors are the same to the last bit, the sign of zeros included."""
    assert first.keys() == second.keys() and first
    return all(value.numpy().tobytes() == second[name].numpy().tobytes() for name, value in first.items())


FIRST = ("dense_0", "batch_norm_1")


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_what_is_frozen_stays_bit_for_bit_under_every_optimizer_and_the_rest_learns(
    optimizer: Any, sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = frozen(changed(optimizer=optimizer, schedule="constant"))
    before = start(spec)
    job = queue(sqlite_store, wine, spec)
    attempt(sqlite_store, settings, job)
    after = weights_of(sqlite_store, job)
    assert same(part(after, *FIRST), part(before, *FIRST))
    assert after["layers.batch_norm_1.running_mean"].eq(0).all()
    for name in ("dense_3", "dense_5"):
        assert not any(torch.equal(value, before[own]) for own, value in part(after, name).items())


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"averaging": {"type": "ema", "decay": 0.9}}},
        {"training": {"averaging": {"type": "swa", "start": 0.1}}},
        {"schedule": {"type": "simulated_annealing", "temperature": 0.01}},
        {"regularization": {"max_norm": 0.01, "l1": 0.1, "clip_norm": 0.5}},
        {"training": {"batch_size": 4, "accumulate": 4}},
    ],
    ids=str,
)
def test_no_other_part_of_training_moves_what_is_frozen(
    sections: Json, sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = frozen(changed(**sections))
    before = start(spec)
    job = queue(sqlite_store, wine, spec)
    attempt(sqlite_store, settings, job)
    assert same(part(weights_of(sqlite_store, job), *FIRST), part(before, *FIRST))


def at_epochs(store: Store, settings: Settings, data: Dataset, spec: Json, *epochs: int) -> list[dict[str, Tensor]]:
    """Return the weights after so many epochs of a job, each from a checkpoint that it kept."""
    spec = copy.deepcopy(spec)
    spec["training"]["keep_every_epochs"] = 1
    job = queue(store, data, spec)
    attempt(store, settings, job)
    with store.read() as session:
        blobs = {row.epoch: row.blob for row in checkpoints.resumable(session, job) if row.kept}
    return [below(safetensors.torch.load(blob_bytes(store, blobs[epoch])), MODEL) for epoch in epochs]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_layers_begin_to_learn_with_the_epoch_that_they_name(
    optimizer: Any, sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = frozen(changed(optimizer=optimizer, schedule="constant"), unfreeze_at_epoch=4)
    first, third, fourth = at_epochs(sqlite_store, settings, wine, spec, 1, 3, 4)
    assert same(part(first, *FIRST), part(third, *FIRST))
    for name, value in part(fourth, *FIRST).items():
        assert not torch.equal(value, third[name]), name
    counted = [weights["layers.batch_norm_1.num_batches_tracked"].item() for weights in (third, fourth)]
    assert counted[0] == 0 and counted[1] >= STEPS_OF_EPOCH


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_run_that_is_given_back_around_the_epoch_of_unfreezing_ends_with_the_same_bits(
    optimizer: Any, sqlite_store: Store, settings: Settings, wine: Dataset, at_step: AtStep
) -> None:
    spec = frozen(changed(optimizer=optimizer), unfreeze_at_epoch=4, learning_rate_factor=0.3)
    whole, plain = (
        outcome(sqlite_store, attempt(sqlite_store, settings, queue(sqlite_store, wine, each)).id)
        for each in (spec, changed(optimizer=optimizer))
    )
    assert whole != plain
    for step in (20, 21, 24):
        broken = queue(sqlite_store, wine, spec)
        at_step(step, draining.drain)
        assert attempt(sqlite_store, settings, broken).status == "queued", step
        draining.resume()
        at_step(-1, draining.drain)
        attempt(sqlite_store, settings, broken)
        assert outcome(sqlite_store, broken) == whole, step


ONE_STEP: Json = {
    "optimizer": {"type": "sgd", "learning_rate": 0.5},
    "schedule": "constant",
    "training": {"epochs": 1, "batch_size": "all", "log_every_steps": 1},
    "data": {**SPEC["data"], "split": {"validation": 0.0}},
    "network": {"layers": [{"type": "dense", "units": 16, "activation": "relu"}, {"type": "dense", "units": "auto"}]},
}


def after_a_step(store: Store, settings: Settings, data: Dataset, rate: float, **first: Any) -> dict[str, Tensor]:
    """Return the weights after one step of a whole batch, the first layer with these fields."""
    spec = changed(**copy.deepcopy(ONE_STEP))
    spec["optimizer"]["learning_rate"] = rate
    spec["network"]["layers"][0] |= first
    job = queue(store, data, spec)
    assert attempt(store, settings, job).step == 1
    return weights_of(store, job)


def test_a_factor_of_a_tenth_makes_a_step_of_gradient_descent_exactly_a_tenth(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    tenth, slow, full, still = (
        part(after_a_step(sqlite_store, settings, wine, rate, **first), "dense_0")
        for rate, first in ((0.5, {"learning_rate_factor": 0.1}), (0.05, {}), (0.5, {}), (0.5, {"trainable": False}))
    )
    assert same(tenth, slow)
    for name, value in still.items():
        torch.testing.assert_close(tenth[name] - value, (full[name] - value) / 10, rtol=1e-4, atol=1e-7)
        assert not torch.equal(full[name], value)


def test_a_factor_leaves_other_layers_alone(sqlite_store: Store, settings: Settings, wine: Dataset) -> None:
    factor, without = (
        after_a_step(sqlite_store, settings, wine, 0.5, **first) for first in ({"learning_rate_factor": 0.1}, {})
    )
    assert same(part(factor, "dense_1"), part(without, "dense_1"))
    assert not same(part(factor, "dense_0"), part(without, "dense_0"))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_every_optimizer_moves_layers_of_a_small_factor_less(
    optimizer: Any, sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    spec = changed(
        **copy.deepcopy(ONE_STEP),
    )
    spec["optimizer"] = optimizer
    moved = []
    for fields in ({"trainable": False}, {"learning_rate_factor": 0.001}, {"learning_rate_factor": 1.0}):
        spec["network"]["layers"][0] |= {"trainable": True, **fields}
        job = queue(sqlite_store, wine, spec)
        attempt(sqlite_store, settings, job)
        moved.append(weights_of(sqlite_store, job)["layers.dense_0.kernel.weight"])
    still, little, much = moved
    assert 0 < (little - still).norm() < 0.01 * (much - still).norm()
