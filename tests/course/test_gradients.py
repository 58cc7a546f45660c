"""Gradients with a closed form, and how they fade."""

import pytest
import torch
from torch import nn

from service.blocks.activations import Activation
from service.blocks.losses import BinaryCrossEntropy, CrossEntropy, Mse
from tests.support.networks import build, put


def test_cross_entropy_behind_softmax_pulls_by_prediction_less_target() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 2])
    CrossEntropy().per_row(logits, target).sum().backward()
    p = logits.detach().exp() / logits.detach().exp().sum(1, keepdim=True)
    torch.testing.assert_close(logits.grad, p - nn.functional.one_hot(target, 3))


def test_binary_cross_entropy_behind_a_sigmoid_does_the_same() -> None:
    logits = torch.tensor([[2.0], [-1.0], [0.0]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 1])
    BinaryCrossEntropy().per_row(logits, target).sum().backward()
    torch.testing.assert_close(logits.grad, 1 / (1 + (-logits.detach()).exp()) - target[:, None])


def test_the_gradient_of_a_dense_layer_is_the_error_times_the_input() -> None:
    network = build((3,), {"type": "dense", "units": 2}, outputs=2)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 3, generator=draw), torch.randn(5, 2, generator=draw)
    output = network(x)
    Mse().per_row(output, y).mean().backward()
    error = 2 * (output.detach() - y) / y.numel()
    weight, bias = network.parameters()
    torch.testing.assert_close(weight.grad, error.T @ x)
    torch.testing.assert_close(bias.grad, error.sum(0))


def slope(name: str, at: torch.Tensor) -> torch.Tensor:
    x = at.clone().requires_grad_()
    Activation.members()[name].model_validate({}).build()(x).sum().backward()
    assert x.grad is not None
    return x.grad


def test_the_slope_of_a_sigmoid_is_a_quarter_at_most() -> None:
    x = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    found = slope("sigmoid", x)
    value = 1 / (1 + (-x).exp())
    torch.testing.assert_close(found, value * (1 - value))
    assert found.max() == found[800] == 0.25 and found[0] < 4e-4
    tanh = slope("tanh", x)
    assert tanh.max() == tanh[800] == 1


@pytest.mark.parametrize("depth", [1, 5, 10])
def test_gradients_fade_through_sigmoids_and_not_through_rectifiers(depth: int) -> None:
    def pull(activation: str) -> float:
        layers = [{"type": "dense", "units": 1, "activation": activation}] * depth
        network = build((1,), *layers, outputs=1)
        for record in network.records:
            put(record.module, weight=[[1]], bias=[0])
        x = torch.ones(1, 1, requires_grad=True)
        network(x).backward()
        assert x.grad is not None
        return x.grad.item()

    assert 0 < pull("sigmoid") < 0.25**depth
    assert pull("relu") == 1


def test_a_rectifier_that_is_always_negative_is_dead_and_a_leaky_one_is_not() -> None:
    for name, expected in (("relu", 0.0), ("leaky_relu", 0.01)):
        assert slope(name, torch.tensor([-3.0])).item() == pytest.approx(expected)
