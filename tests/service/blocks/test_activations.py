"""Activations against their formulas, written out in numpy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.blocks.activations import Activation

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
    assert {str(body["type"]) for body, _ in FORMULAS} == set(Activation.members())


def test_softmax_is_over_the_channels() -> None:
    out = Activation.members()["softmax"].model_validate({}).build()(torch.randn(2, 3, 4))
    torch.testing.assert_close(out.sum(1), torch.ones(2, 4))
