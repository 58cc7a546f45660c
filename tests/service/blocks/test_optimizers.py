"""Three steps of every optimizer against its formula, written out in numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from service.blocks.adam import AdamW
from service.blocks.optimizers import Optimizer, Sgd

START = np.array([[1.0, -2.0], [0.5, 3.0]])
GRADIENTS = [
    np.array([[0.3, -0.1], [0.2, 0.4]]),
    np.array([[-0.2, 0.5], [0.1, 0.1]]),
    np.array([[0.4, 0.2], [-0.3, 0.6]]),
]
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


@pytest.mark.parametrize(("body", "formula"), FORMULAS, ids=["-".join(map(str, body.values())) for body, _ in FORMULAS])
def test_is_its_formula(body: dict[str, Any], formula: Callable[[], np.ndarray]) -> None:
    weight = nn.Parameter(torch.tensor(START))
    optimizer = Optimizer.members()[body["type"]].model_validate({**body, "learning_rate": LR}).build([weight])
    for gradient in GRADIENTS:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), formula(), rtol=1e-5)


def test_every_optimizer_is_compared() -> None:
    searching = {tag for tag, member in Optimizer.members().items() if member.searches}
    assert {body["type"] for body, _ in FORMULAS} == set(Optimizer.members()) - searching


def test_weight_decay_spares_biases_and_scales() -> None:
    kernel, bias = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2))
    optimizer = AdamW(weight_decay=0.5, learning_rate=0.1).build([kernel, bias])
    kernel.grad, bias.grad = torch.zeros(2, 3), torch.zeros(2)
    optimizer.step()
    assert torch.allclose(kernel, torch.full((2, 3), 0.95)) and (bias == 1).all()


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        Sgd(nesterov=True)
