"""Steps of fused kernels, against torch's own optimizers: the same bits, whatever happens on the way."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from service.blocks.optimizers import Optimizer
from worker.training.update import Update

FUSED: list[dict[str, Any]] = [
    {"type": "adam"},
    {"type": "adamw", "weight_decay": 0.1},
    {"type": "amsgrad"},
    {"type": "sgd"},
    {"type": "sgd", "momentum": 0.9, "nesterov": True},
]
OTHERS: list[dict[str, Any]] = [
    {"type": name} for name in Optimizer.members() if name not in ("adam", "adamw", "amsgrad", "sgd", "lbfgs")
]
SHAPES = [(4, 3), (4,), (2, 4), (2,)]


def weights(seed: int = 0) -> list[nn.Parameter]:
    source = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=source)) for shape in SHAPES]


def gradients(step: int) -> list[torch.Tensor | None]:
    source = torch.Generator().manual_seed(1000 + step)
    return [torch.randn(shape, generator=source) for shape in SHAPES]


def build(body: dict[str, Any], parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return Optimizer.members()[body["type"]].model_validate(body).build(parameters)


def plain(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], found: list[torch.Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
    optimizer.step()


@pytest.mark.parametrize("body", FUSED + OTHERS, ids=str)
def test_an_update_has_the_bits_of_the_optimizer(body: dict[str, Any]) -> None:
    ours, theirs = weights(), weights()
    mine, other = build(body, ours), build(body, theirs)
    update = Update(mine, ours)
    for step in range(12):
        for optimizer in (mine, other):
            for number, group in enumerate(optimizer.param_groups):
                group["lr"] = 0.01 * (1 + number) / (1 + step)
        found = gradients(step)
        if step in (5, 6):
            found[1] = None  # a weight that the loss does not depend on stays where it is
        if step == 8:
            state = copy.deepcopy(other.state_dict())
            mine.load_state_dict(state)
        with torch.no_grad():
            update(found)
        plain(other, theirs, found)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), step
        assert all(parameter.grad is None for parameter in ours)
    kept, expected = (optimizer.state_dict()["state"] for optimizer in (mine, other))
    assert kept.keys() == expected.keys()
    for number, mine_state in kept.items():
        other_state = expected[number]
        assert mine_state.keys() == other_state.keys()
        for name, value in mine_state.items():
            assert value == other_state[name] if not torch.is_tensor(value) else torch.equal(value, other_state[name])


@pytest.mark.parametrize("body", FUSED, ids=str)
def test_a_fused_update_does_not_go_through_the_optimizer(
    body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = weights()
    optimizer = build(body, parameters)
    calls = []
    original = optimizer.step
    monkeypatch.setattr(optimizer, "step", lambda: (calls.append(1), original()))
    update = Update(optimizer, parameters)
    for step in range(5):
        with torch.no_grad():
            update(gradients(step))
    assert len(calls) == 1
    optimizer.load_state_dict(optimizer.state_dict())
    with torch.no_grad():
        update(gradients(5))
    assert len(calls) == 2
