"""The gradient of every layer, activation and loss against finite differences, in double precision."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from service.blocks.activations import Activation
from service.blocks.base import Shape
from service.blocks.embedding import Embedding
from service.blocks.layers import Layer
from service.blocks.losses import Loss, Target
from service.blocks.noise import StepNoise, set_noise
from service.errors import InvalidSpec
from service.network import Network
from tests.service.blocks.test_every_block import cases, smallest
from tests.support.networks import build, first

SHAPES: tuple[Shape, ...] = ((6,), (2, 4), (4, 6), (2, 3, 4), (2, 2, 2, 3))
ROWS = 3
FIELDS: dict[type[Layer], dict[str, int]] = {Embedding: {"input_dim": 10}}
"""What some layers have to be told here because there are no data that say it."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Return numbers no two of which are close, and none close to a whole number or a half: no kink is near."""
    count = torch.Size(shape).numel()
    places = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).double()
    values = -1.9 + 3.8 * (places + 0.5) / count
    near = (values * 2 - (values * 2).round()).abs() < 0.02
    return (values + 0.013 * near).view(shape)


TARGETS: dict[str, list[tuple[Target, Callable[[int], Tensor]]]] = {
    "classification": [
        (Target(("a", "b", "c"), 1), lambda rows: torch.arange(rows) % 3),
        (Target(("a", "b"), 1), lambda rows: torch.arange(rows) % 2),
    ],
    "regression": [(Target(None, 2), lambda rows: 0.9 * drawn(rows, 2, seed=1))],
}
"""Targets of every task and their values, of which a loss must take one."""


def check(module: nn.Module, x: Tensor) -> None:
    """Compare the gradients with respect to the input and to every parameter, each as if it were an input."""
    names = [name for name, _ in module.named_parameters()]
    weights = [parameter.detach().requires_grad_() for parameter in module.parameters()]

    def outputs(x: Tensor, *values: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))
        return out

    inputs = (x.requires_grad_(), *weights)
    if outputs(*inputs).requires_grad:
        assert gradcheck(outputs, inputs, atol=1e-6, rtol=1e-4)


def takers(block: type[Layer]) -> list[tuple[Network, Shape]]:
    """Return networks that begin with the layer, one for each shape that it takes."""
    found = []
    for shape in SHAPES:
        try:
            body = smallest(block) | FIELDS.get(block, {})
            found.append((build(shape, body, bias_initializer="normal").double(), shape))
        except InvalidSpec as error:
            assert error.problems[0].path.startswith("network.layers[0]")
    return found


@cases(Layer)
@pytest.mark.parametrize("training", [True, False], ids=["training", "prediction"])
def test_layer(block: type[Layer], training: bool) -> None:
    found = takers(block)
    assert found, f"takes none of {SHAPES}: add one that it takes"
    for network, shape in found:
        network.train(training)
        set_noise(network, StepNoise(0, 0, torch.device("cpu")) if training else None)
        # An id is cut to a whole number: in the middle between two, small changes change nothing.
        ids = torch.randint(10, (ROWS, *shape), generator=torch.Generator().manual_seed(0)) + 0.5
        check(first(network), ids.double() if block is Embedding else drawn(ROWS, *shape))


@cases(Activation)
def test_activation(block: type[Activation]) -> None:
    module = block.model_validate(smallest(block)).build().double()
    check(module, 4 * drawn(4, 10))


@cases(Loss)
@pytest.mark.parametrize("rows", [1, 5])
def test_loss(block: type[Loss], rows: int) -> None:
    loss = block.model_validate(smallest(block))
    assert loss.task in TARGETS, f"there is no target for {loss.task} here: add one"
    for target, truth in TARGETS[loss.task]:
        try:
            outputs = loss.outputs(target)
        except ValueError:
            continue
        per_row = partial(loss.per_row, target=truth(rows))
        assert gradcheck(per_row, (drawn(rows, outputs).requires_grad_(),))
        return
    pytest.fail(f"{loss.type} takes none of the targets here: add one that it takes")
