"""Ten steps of every optimizer against its formula, written out in numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from service.blocks.adam import AdamW
from service.blocks.lbfgs import Lbfgs
from service.blocks.optimizers import Optimizer, Sgd

START = np.array([[1.0, -2.0], [0.5, 3.0]])
# They turn, grow and shrink, so that running means, maxima and corrections of bias all show.
GRADIENTS = (
    np.random.default_rng(0).normal(size=(10, 2, 2))
    * np.geomspace(0.1, 3, 10)[[5, 8, 2, 9, 0, 7, 1, 3, 6, 4], None, None]
)
LR, EPS = 0.1, 1e-7


def sgd(momentum: float = 0.0, nesterov: bool = False) -> np.ndarray:
    w, v = START.copy(), np.zeros_like(START)
    for g in GRADIENTS:
        v = momentum * v + g
        w = w - LR * (g + momentum * v if nesterov else v)
    return w


def rmsprop(momentum: float = 0.0) -> np.ndarray:
    w, s, v = START.copy(), np.zeros_like(START), np.zeros_like(START)
    for g in GRADIENTS:
        s = 0.9 * s + 0.1 * g**2
        v = momentum * v + g / (np.sqrt(s) + EPS)
        w = w - LR * v
    return w


def adagrad() -> np.ndarray:
    w, s = START.copy(), np.zeros_like(START)
    for g in GRADIENTS:
        s = s + g**2
        w = w - LR * g / (np.sqrt(s) + EPS)
    return w


def adam(decay: float = 0.0) -> np.ndarray:
    w, m, v = START.copy(), np.zeros_like(START), np.zeros_like(START)
    for t, g in enumerate(GRADIENTS, 1):
        w = w - LR * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - LR * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + EPS)
    return w


def nadam() -> np.ndarray:
    w, m, v, product = START.copy(), np.zeros_like(START), np.zeros_like(START), 1.0
    for t, g in enumerate(GRADIENTS, 1):
        now, ahead = (0.9 * (1 - 0.5 * 0.96 ** (k * 0.004)) for k in (t, t + 1))
        product *= now
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        mean = ahead * m / (1 - product * ahead) + (1 - now) * g / (1 - product)
        w = w - LR * mean / (np.sqrt(v / (1 - 0.999**t)) + EPS)
    return w


def adadelta() -> np.ndarray:
    w, s, d = START.copy(), np.zeros_like(START), np.zeros_like(START)
    for g in GRADIENTS:
        s = 0.95 * s + 0.05 * g**2
        move = np.sqrt(d + 1e-6) / np.sqrt(s + 1e-6) * g
        d = 0.95 * d + 0.05 * move**2
        w = w - LR * move
    return w


def adamax() -> np.ndarray:
    w, m, u = START.copy(), np.zeros_like(START), np.zeros_like(START)
    for t, g in enumerate(GRADIENTS, 1):
        m, u = 0.9 * m + 0.1 * g, np.maximum(0.999 * u, np.abs(g) + EPS)
        w = w - LR / (1 - 0.9**t) * m / u
    return w


def amsgrad() -> np.ndarray:
    w, m, v, top = START.copy(), np.zeros_like(START), np.zeros_like(START), np.zeros_like(START)
    for t, g in enumerate(GRADIENTS, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        top = np.maximum(top, v)
        w = w - LR * (m / (1 - 0.9**t)) / (np.sqrt(top / (1 - 0.999**t)) + EPS)
    return w


def lion(decay: float = 0.0) -> np.ndarray:
    w, m = START.copy(), np.zeros_like(START)
    for g in GRADIENTS:
        w = w - LR * (np.sign(0.9 * m + 0.1 * g) + decay * w)
        m = 0.99 * m + 0.01 * g
    return w


FORMULAS: list[tuple[dict[str, Any], Callable[[], np.ndarray]]] = [
    ({"type": "sgd"}, sgd),
    ({"type": "sgd", "momentum": 0.8}, lambda: sgd(0.8)),
    ({"type": "sgd", "momentum": 0.8, "nesterov": True}, lambda: sgd(0.8, True)),
    ({"type": "rmsprop"}, rmsprop),
    ({"type": "rmsprop", "momentum": 0.5}, lambda: rmsprop(0.5)),
    ({"type": "adagrad"}, adagrad),
    ({"type": "adam"}, adam),
    ({"type": "adamw", "weight_decay": 0.2}, lambda: adam(0.2)),
    ({"type": "nadam"}, nadam),
    ({"type": "adadelta"}, adadelta),
    ({"type": "adamax"}, adamax),
    ({"type": "amsgrad"}, amsgrad),
    ({"type": "lion"}, lion),
    ({"type": "lion", "weight_decay": 0.2}, lambda: lion(0.2)),
]
SEARCHES = {"lbfgs"}
"""Those whose steps depend on the loss, not on the gradient alone, and that have a test of their own."""


@pytest.mark.parametrize(("body", "formula"), FORMULAS, ids=["-".join(map(str, body.values())) for body, _ in FORMULAS])
def test_is_its_formula(body: dict[str, Any], formula: Callable[[], np.ndarray]) -> None:
    weight = nn.Parameter(torch.tensor(START))
    optimizer = Optimizer.members()[body["type"]].model_validate({**body, "learning_rate": LR}).build([weight])
    for gradient in GRADIENTS:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    # torch keeps one product of Nadam's in single precision.
    np.testing.assert_allclose(weight.detach().numpy(), formula(), rtol=1e-7 if body["type"] == "nadam" else 1e-12)


@pytest.mark.parametrize("name", Optimizer.members())
def test_every_optimizer_is_compared(name: str) -> None:
    compared = {body["type"] for body, _ in FORMULAS} | SEARCHES
    assert name in compared, f"nothing here says what {name} does: write its formula and add it to FORMULAS"


def bowl(w: np.ndarray) -> tuple[float, np.ndarray]:
    """Return a smooth function with one minimum, of very unequal curvature, and its gradient."""
    scale = np.array([1.0, 5.0, 25.0, 100.0])
    z = w - [1.0, -1.0, 0.5, 2.0]
    return float((scale * z**2 / 2 + np.cosh(z)).sum()), scale * z + np.sinh(z)


def two_loops(gradient: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the direction of L-BFGS (Nocedal and Wright 2006, algorithm 7.4) from steps and changes of gradient."""
    q, shares = gradient.copy(), []
    for s, y in reversed(pairs):
        shares.append(s @ q / (s @ y))
        q -= shares[-1] * y
    if pairs:
        s, y = pairs[-1]
        q *= s @ y / (y @ y)
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        q += (share - y @ q / (s @ y)) * s
    return -q


def test_lbfgs_goes_where_two_loops_say_as_far_as_wolfe_allows() -> None:
    history = 3
    weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = Lbfgs(iterations=1, history=history).build([weight])

    def look() -> torch.Tensor:
        value, gradient = bowl(weight.detach().numpy())
        weight.grad = torch.tensor(gradient)
        return torch.tensor(value)

    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(20):
        before = weight.detach().numpy().copy()
        optimizer.step(look)  # type: ignore[arg-type]
        after = weight.detach().numpy()
        (value, gradient), (reached, there) = bowl(before), bowl(after)
        direction, step = two_loops(gradient, pairs[-history:]), after - before
        length = step @ direction / (direction @ direction)
        np.testing.assert_allclose(step, length * direction, rtol=1e-6, atol=1e-9)
        assert length > 0
        assert reached <= value + 1e-4 * step @ gradient + 1e-12  # the strong Wolfe conditions
        assert abs(there @ step) <= 0.9 * abs(gradient @ step) + 1e-12
        pairs.append((step, there - gradient))
        if np.abs(there).max() < 1e-3:
            break
    else:
        pytest.fail("twenty steps do not reach the minimum")
    assert len(pairs) > 2 * history


def test_weight_decay_spares_biases_and_scales() -> None:
    kernel, bias = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2))
    optimizer = AdamW(weight_decay=0.5, learning_rate=0.1).build([kernel, bias])
    kernel.grad, bias.grad = torch.zeros(2, 3), torch.zeros(2)
    optimizer.step()
    assert torch.allclose(kernel, torch.full((2, 3), 0.95)) and (bias == 1).all()


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        Sgd(nesterov=True)
