"""Which weights learn, when and how fast, by what the layers around them say."""

from typing import Any

import pytest
import torch
from torch import nn

from service.blocks.lbfgs import Lbfgs
from service.blocks.optimizers import Optimizer
from service.errors import InvalidSpec
from service.network.learning import ALWAYS, Learning
from tests.support.networks import Body, build

HEAD: Body = {"type": "dense", "units": "auto"}
PRELU: Body = {"type": "dense", "units": 4, "activation": "prelu"}


def learning(*layers: Body, shape: tuple[int, ...] = (4,)) -> dict[str, Learning]:
    return build(shape, *layers, HEAD, outputs=1).learning


def test_weights_learn_always_unless_a_layer_says_otherwise() -> None:
    assert set(learning(PRELU, "batch_norm").values()) == {ALWAYS}


def test_all_weights_of_a_layer_learn_as_it_says_those_of_its_activation_too() -> None:
    found = learning({**PRELU, "trainable": False, "unfreeze_at_epoch": 3, "learning_rate_factor": 0.5})
    of_layer = {name.removeprefix("layers.dense_0."): rule for name, rule in found.items() if "dense_0" in name}
    assert of_layer == dict.fromkeys(("kernel.weight", "kernel.bias", "activation.weight"), Learning(3, 0.5))
    assert found["layers.dense_1.kernel.weight"] == ALWAYS


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ({"learning_rate_factor": 0.5}, {"learning_rate_factor": 0.1}, Learning(1, 0.05)),
        ({"trainable": False}, {}, Learning(None)),
        ({}, {"trainable": False}, Learning(None)),
        ({"trainable": False, "unfreeze_at_epoch": 5}, {}, Learning(5)),
        (
            {"trainable": False, "unfreeze_at_epoch": 5},
            {"trainable": False, "unfreeze_at_epoch": 7},
            Learning(7),
        ),
        (
            {"trainable": False, "unfreeze_at_epoch": 7},
            {"trainable": False, "unfreeze_at_epoch": 5},
            Learning(7),
        ),
        ({"trainable": False, "unfreeze_at_epoch": 5}, {"trainable": False}, Learning(None)),
        ({"trainable": False}, {"trainable": False, "unfreeze_at_epoch": 5}, Learning(None)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["residual", "sequential", "parallel"])
def test_layers_inside_of_others_learn_as_both_say(
    kind: str, outer: dict[str, Any], inner: dict[str, Any], expected: Learning
) -> None:
    field = "branches" if kind == "parallel" else "layers"
    found = learning({"type": kind, **outer, field: [{"type": "dense", "name": "inner", "units": 4, **inner}]})
    assert found[f"layers.{kind}_0.{field}.inner.kernel.weight"] == expected


def test_epochs_are_counted_from_one() -> None:
    assert [Learning(3).at(epoch) for epoch in (1, 2, 3, 4)] == [False, False, True, True]
    assert not Learning(None).at(10**9)


def test_statistics_move_only_where_the_normalization_learns() -> None:
    frozen = {"type": "batch_norm", "trainable": False, "unfreeze_at_epoch": 2}
    network = build((4,), "batch_norm", frozen, {"type": "batch_norm", "trainable": False}, HEAD, outputs=1)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    seen = []
    for epoch in (1, 2):
        network.learn(epoch)
        seen.append([norm.training for norm in network.train() and norms])
        assert not any(norm.training for norm in network.eval() and norms)
    assert seen == [[True, False, False], [True, True, False]]
    assert network.has_batch_norm
    assert not build((4,), {"type": "batch_norm", "trainable": False}, HEAD, outputs=1).has_batch_norm


def test_penalties_and_constraints_are_for_what_learns() -> None:
    rules = {"regularizer": {"l2": 1.0}, "constraint": {"max_norm": 0.01}}
    layers: list[Body] = [{"type": "dense", "units": 4, **rules, "trainable": False, "unfreeze_at_epoch": 2}, HEAD]
    network = build((4,), *layers, outputs=1)
    kernel = network.get_parameter("layers.dense_0.kernel.weight")
    before = kernel.detach().clone()
    network.constrain_()
    assert network.penalty() is None and torch.equal(kernel, before)
    network.learn(2)
    penalty = network.penalty()
    assert penalty is not None and penalty.item() == pytest.approx(before.square().sum().item())
    network.constrain_()
    assert not torch.equal(kernel, before)


def test_a_network_needs_something_that_learns_from_the_start() -> None:
    for more in ({}, {"unfreeze_at_epoch": 2}):
        with pytest.raises(InvalidSpec, match="nothing learns"):
            build((4,), {"type": "dense", "units": "auto", "trainable": False, **more}, outputs=1)
    build((4,), "batch_norm", {"type": "dense", "units": "auto", "trainable": False}, outputs=1)


def test_a_factor_changes_the_variables_of_a_line_search() -> None:
    """With the factors 1/c for w of c * (w - 1)^2 the search sees (u - 1)^2 in all directions: one step is enough."""
    curvature = torch.tensor([1.0, 100.0])
    weights = [nn.Parameter(torch.zeros(1)) for _ in curvature]
    groups = [{"params": [w], "factor": 1 / c} for w, c in zip(weights, curvature.tolist(), strict=True)]

    def left(optimizer: torch.optim.Optimizer) -> float:
        def look() -> torch.Tensor:
            optimizer.zero_grad()
            loss = (curvature * (torch.cat(weights) - 1).square()).sum()
            loss.backward()
            return loss

        with torch.no_grad():
            [w.zero_() for w in weights]
        optimizer.step(look)  # type: ignore[arg-type]
        return look().item()

    one = Lbfgs(iterations=2)
    assert left(one.build(groups)) < 1e-8 < left(one.build(weights))


@pytest.mark.parametrize("kind", ["adamw", "lion"])
def test_weight_decay_keeps_to_kernels_in_every_group(kind: str) -> None:
    parameters = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3, 3))]
    optimizer = Optimizer.members()[kind].model_validate({"weight_decay": 0.5})
    groups = [{"params": parameters[:2], "factor": 0.1}, {"params": parameters[2:], "factor": 1.0}]
    found = [
        (len(group["params"]), group["factor"], group["weight_decay"]) for group in optimizer.build(groups).param_groups
    ]
    assert found == [(1, 0.1, 0.5), (1, 0.1, 0.0), (1, 1.0, 0.5)]


def test_a_line_search_leaves_the_sign_of_frozen_zeros_and_begins_anew_when_they_learn() -> None:
    frozen, free = nn.Parameter(torch.tensor([-0.0, 0.0]), requires_grad=False), nn.Parameter(torch.tensor([3.0, 2.0]))
    target = torch.tensor([[1.0, 5.0], [-2.0, 4.0]])
    optimizer = Lbfgs(iterations=4).build([frozen, free])

    def look() -> torch.Tensor:
        optimizer.zero_grad()
        loss = ((torch.stack([frozen, free]) - target) * torch.tensor([1.0, 7.0])).pow(4).sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(look)  # type: ignore[arg-type]
        assert torch.signbit(frozen).tolist() == [True, False]
    assert not torch.equal(free, torch.tensor([3.0, 2.0]))
    frozen.requires_grad_()
    start = [frozen.detach().clone(), free.detach().clone()]
    optimizer.step(look)  # type: ignore[arg-type]
    seen = [frozen.detach().clone(), free.detach().clone()]
    with torch.no_grad():
        frozen.copy_(start[0]), free.copy_(start[1])
    optimizer = Lbfgs(iterations=4).build([frozen, free])
    optimizer.step(look)  # type: ignore[arg-type]
    assert torch.equal(frozen, seen[0]) and torch.equal(free, seen[1])
    assert not torch.equal(seen[0], start[0])
