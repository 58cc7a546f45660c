"""Activations against their formulas, written out in numpy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.blocks.activations import Activation
from service.blocks.noise import StepNoise
from service.blocks.random_rectifier import RandomSlope
from tests.support.networks import build

Array = NDArray[np.float64]
X = np.linspace(-4, 4, 33)
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


FORMULAS: list[tuple[dict[str, object], Callable[[Array], Array]]] = [
    ({"type": "linear"}, lambda x: x),
    ({"type": "relu"}, lambda x: np.maximum(x, 0)),
    ({"type": "leaky_relu", "slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    ({"type": "elu", "alpha": 1.5}, lambda x: np.where(x > 0, x, 1.5 * np.expm1(x))),
    ({"type": "selu"}, lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x))),
    ({"type": "gelu"}, gelu),
    ({"type": "sigmoid"}, lambda x: 1 / (1 + np.exp(-x))),
    ({"type": "tanh"}, np.tanh),
    ({"type": "step"}, lambda x: (x >= 0).astype(float)),
    ({"type": "hard_sigmoid"}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ({"type": "relu6"}, lambda x: np.clip(x, 0, 6)),
    ({"type": "prelu", "slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ({"type": "celu", "alpha": 2.0}, lambda x: np.maximum(x, 0) + np.minimum(0, 2 * np.expm1(x / 2))),
    ({"type": "silu"}, lambda x: x / (1 + np.exp(-x))),
    ({"type": "swish"}, lambda x: x / (1 + np.exp(-x))),
    ({"type": "rrelu"}, lambda x: np.where(x > 0, x, x * (1 / 8 + 1 / 3) / 2)),
    ({"type": "rrelu", "lower": 0.2, "upper": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    ({"type": "mish"}, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ({"type": "softplus"}, lambda x: np.log1p(np.exp(x))),
    ({"type": "softsign"}, lambda x: x / (1 + np.abs(x))),
    ({"type": "softmax"}, lambda x: np.exp(x) / np.exp(x).sum()),
]


@pytest.mark.parametrize(("body", "formula"), FORMULAS, ids=[str(body["type"]) for body, _ in FORMULAS])
def test_is_its_formula(body: dict[str, object], formula: Callable[[Array], Array]) -> None:
    module = Activation.members()[str(body["type"])].model_validate(body).build()
    np.testing.assert_allclose(
        module.double()(torch.tensor(X)[None])[0].detach().numpy(), formula(X), rtol=1e-6, atol=1e-9
    )


def test_every_activation_is_compared() -> None:
    narrowing = {tag for tag, member in Activation.members().items() if member.narrows}
    assert {str(body["type"]) for body, _ in FORMULAS} == set(Activation.members()) - narrowing


def test_softmax_is_over_the_channels() -> None:
    out = Activation.members()["softmax"].model_validate({}).build()(torch.randn(2, 3, 4))
    torch.testing.assert_close(out.sum(1), torch.ones(2, 4))


def test_random_slopes_are_uniform_and_each_value_has_its_own() -> None:
    module = RandomSlope(0.1, 0.5)
    module.noise = StepNoise(0, 0, torch.device("cpu"))
    slopes = -module(-torch.ones(200, 100))
    assert float(slopes.min()) == pytest.approx(0.1, abs=1e-3) and float(slopes.max()) == pytest.approx(0.5, abs=1e-3)
    assert float(slopes.mean()) == pytest.approx(0.3, abs=3e-3)
    assert float(slopes.var()) == pytest.approx(0.4**2 / 12, rel=0.03)
    assert len(slopes.unique()) > 10_000
    assert torch.equal(module(torch.ones(3, 4)), torch.ones(3, 4))


def test_a_learned_slope_starts_as_its_activation_says() -> None:
    network = build((3,), {"type": "dense", "units": 4, "activation": {"type": "prelu", "slope": 0.4}})
    assert network.layers["dense_0"].activation.weight.tolist() == pytest.approx([0.4])
