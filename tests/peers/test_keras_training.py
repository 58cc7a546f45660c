"""Initializers, optimizers and schedules against Keras'."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from service.blocks.initializers import Initializer
from service.blocks.optimizers import Optimizer
from service.blocks.schedules import Horizon, Schedule
from tests.peers.keras_on_torch import array, ignore_warnings, keras
from tests.service.blocks.test_every_block import smallest

pytestmark = ignore_warnings

initializers = keras.initializers
SHAPES = {"dense": (300, 200), "conv2d": (64, 32, 5, 5)}
"""Kernels [out, in, *sizes] of some 50,000 weights, whose variance deviates by 0.6 %."""
INITIALIZERS: list[tuple[str, dict[str, Any], Any]] = [
    ("normal", {}, initializers.RandomNormal),
    ("uniform", {}, initializers.RandomUniform),
    ("truncated_normal", {}, initializers.TruncatedNormal),
    ("glorot_uniform", {}, initializers.GlorotUniform),
    ("he_uniform", {}, initializers.HeUniform),
    ("lecun_uniform", {}, initializers.LecunUniform),
    # Keras cuts these off at two deviations and makes up for it: the variance is the same, the tails are not.
    ("glorot_normal", {}, initializers.GlorotNormal),
    ("he_normal", {}, initializers.HeNormal),
    ("lecun_normal", {}, initializers.LecunNormal),
    ("variance_scaling", {"scale": 1.5, "mode": "fan_avg", "distribution": "uniform"}, initializers.VarianceScaling),
    ("variance_scaling", {"scale": 0.5, "mode": "fan_out", "distribution": "normal"}, initializers.VarianceScaling),
]
CUT = ("glorot_normal", "he_normal", "lecun_normal")


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(("name", "fields", "peer"), INITIALIZERS, ids=[f"{n}{f or ''}" for n, f, _ in INITIALIZERS])
def test_initializer(name: str, fields: dict[str, Any], peer: Any, kind: str) -> None:
    shape, weight = SHAPES[kind], torch.empty(SHAPES[kind])
    Initializer.members()[name].model_validate(fields).fill(weight, torch.Generator().manual_seed(1))
    same = {"distribution": "untruncated_normal"} if fields.get("distribution") == "normal" else {}
    theirs = array(peer(**{**fields, **same}, seed=1)((*shape[2:], shape[1], shape[0])))
    assert weight.var().item() == pytest.approx(theirs.var(), rel=0.05)
    assert weight.mean().item() == pytest.approx(theirs.mean(), abs=9 * theirs.std() / np.sqrt(theirs.size))
    if name in CUT:
        assert np.abs(theirs).max() < 2.3 * theirs.std() < 3.5 * theirs.std() < weight.abs().max().item()
    elif "normal" not in (name, fields.get("distribution")):
        assert weight.abs().max().item() == pytest.approx(np.abs(theirs).max(), rel=0.001)


def test_orthogonal_kernels_have_the_same_products() -> None:
    weight = torch.empty(5, 8)
    Initializer.members()["orthogonal"].model_validate({"gain": 2.0}).fill(weight, torch.Generator().manual_seed(1))
    theirs = array(initializers.Orthogonal(gain=2.0, seed=1)((8, 5)))
    np.testing.assert_allclose(theirs.T @ theirs, 4 * np.eye(5), atol=1e-5)
    np.testing.assert_allclose((weight @ weight.T).numpy(), theirs.T @ theirs, atol=1e-5)


optimizers = keras.optimizers
TINY = 1e-12
"""Keras adds epsilon under the root in RMSprop and Adagrad, and before the correction of bias in Adam ("epsilon hat" of
Kingma and Ba, section 2); here it is added to the corrected root, as in their algorithm. So small, it does not show."""
START = np.array([[1.0, -2.0], [0.5, 3.0]], dtype=np.float32)
GRADIENTS = (np.random.default_rng(3).normal(size=(10, 2, 2)) * np.geomspace(0.1, 3, 10)[::-1, None, None]).astype("f")
OPTIMIZERS: list[tuple[str, dict[str, Any], Any]] = [
    ("sgd", {}, optimizers.SGD),
    ("sgd", {"momentum": 0.8}, optimizers.SGD),
    ("sgd", {"momentum": 0.8, "nesterov": True}, optimizers.SGD),
    ("rmsprop", {"epsilon": TINY}, optimizers.RMSprop),
    ("rmsprop", {"momentum": 0.5, "rho": 0.8, "epsilon": TINY}, optimizers.RMSprop),
    ("adagrad", {"initial_accumulator": 0.1, "epsilon": TINY}, optimizers.Adagrad),
    ("adam", {"epsilon": TINY}, optimizers.Adam),
    ("adam", {"beta_1": 0.7, "beta_2": 0.9, "epsilon": TINY}, optimizers.Adam),
    ("amsgrad", {"beta_2": 0.6, "epsilon": TINY}, partial(optimizers.Adam, amsgrad=True)),
    ("adamw", {"weight_decay": 0.2, "epsilon": TINY}, optimizers.AdamW),
    ("adamax", {"epsilon": TINY}, optimizers.Adamax),
    ("adadelta", {"learning_rate": 20.0, "epsilon": 1e-6}, optimizers.Adadelta),
    ("lion", {}, optimizers.Lion),
    ("lion", {"weight_decay": 0.2}, optimizers.Lion),
]
OTHERWISE = {
    "nadam": "Its momentum warms up by 0.96 ** t in Keras, by 0.96 ** (t / 250) in Dozat 2016, in torch and here",
    "lbfgs": "Keras has none",
}
"""Optimizers that Keras has otherwise or not at all."""


@pytest.mark.parametrize("name", Optimizer.members())
def test_optimizer_is_compared_or_a_reason_given(name: str) -> None:
    assert name in OTHERWISE or name in {name for name, *_ in OPTIMIZERS}, f"compare {name} with Keras', or say why not"


@pytest.mark.parametrize(("name", "fields", "peer"), OPTIMIZERS, ids=[f"{n}{f or ''}" for n, f, _ in OPTIMIZERS])
def test_ten_steps(name: str, fields: dict[str, Any], peer: Any) -> None:
    fields = {"learning_rate": 0.05, **fields}
    weight, variable = nn.Parameter(torch.tensor(START)), keras.Variable(START)
    ours = Optimizer.members()[name].model_validate(fields).build([weight])
    options = {{"initial_accumulator": "initial_accumulator_value"}.get(k, k): v for k, v in fields.items()}
    theirs = peer(**options)
    theirs.build([variable])
    for gradient in GRADIENTS:
        weight.grad = torch.tensor(gradient)
        ours.step()
        theirs.apply([torch.tensor(gradient)], [variable])
        np.testing.assert_allclose(weight.detach().numpy(), array(variable), rtol=1e-5, atol=1e-6)
    assert np.abs(array(variable) - START).min() > 1e-3


schedules = keras.optimizers.schedules
EPOCH, TOTAL = 8, 120
SCHEDULES: list[tuple[str, dict[str, Any], Any]] = [
    ("step", {"every_epochs": 2.0, "gamma": 0.5}, schedules.ExponentialDecay(1.0, 2 * EPOCH, 0.5, staircase=True)),
    ("exponential", {"gamma": 0.8}, schedules.ExponentialDecay(1.0, EPOCH, 0.8)),
    # Keras still has the old rate at the boundary itself.
    ("multi_step", {"at_epochs": [3.0, 6.0]}, schedules.PiecewiseConstantDecay([23, 47], [1.0, 0.1, 0.01])),
    ("inverse_time", {"decay": 0.5}, schedules.InverseTimeDecay(1.0, EPOCH, 0.5)),
    ("polynomial", {"power": 2.0, "min_factor": 0.1}, schedules.PolynomialDecay(1.0, TOTAL, 0.1, power=2.0)),
    ("cosine", {"min_factor": 0.1}, schedules.CosineDecay(1.0, TOTAL, alpha=0.1)),
    (
        "cosine_restarts",
        {"first_epochs": 2.0, "stretch": 2.0, "min_factor": 0.1},
        schedules.CosineDecayRestarts(1.0, 2 * EPOCH, t_mul=2.0, m_mul=1.0, alpha=0.1),
    ),
]


@pytest.mark.parametrize(("name", "fields", "theirs"), SCHEDULES, ids=[name for name, *_ in SCHEDULES])
def test_schedule(name: str, fields: dict[str, Any], theirs: Any) -> None:
    block = Schedule.members()[name]
    schedule = block.model_validate({**smallest(block), **fields})
    ours = [schedule.factor(step, Horizon(EPOCH, TOTAL)) for step in range(TOTAL + 10)]
    np.testing.assert_allclose(ours, [float(array(theirs(step))) for step in range(TOTAL + 10)], rtol=1e-4, atol=1e-6)
