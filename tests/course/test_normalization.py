"""Batch normalisation and dropout: what they promise of means and variances."""

import pytest
import torch
from torch import nn

from service.blocks.noise import StepNoise, set_noise
from tests.support.networks import alone, build, first, put

CPU = torch.device("cpu")
X = 3 + 2 * torch.randn(64, 5, 4, 4, generator=torch.Generator().manual_seed(0))


def test_batch_norm_brings_channels_to_mean_zero_and_variance_one_then_to_beta_and_gamma() -> None:
    layer = alone((5, 4, 4), {"type": "batch_norm", "epsilon": 1e-9}).train()
    out = layer(X)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3), correction=0), torch.ones(5))
    gamma, beta = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0]), torch.tensor([0.0, 1.0, -2.0, 0.0, 5.0])
    put(layer, weight=gamma, bias=beta)
    out = layer(X)
    torch.testing.assert_close(out.mean((0, 2, 3)), beta, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), gamma)


@pytest.mark.parametrize("momentum", [0.0, 0.75, 0.99])
def test_moving_statistics_keep_the_share_that_momentum_says(momentum: float) -> None:
    layer = alone((5, 4, 4), {"type": "batch_norm", "momentum": momentum}).train()
    mean, var = torch.zeros(5), torch.ones(5)
    for batch in X.split(16):
        layer(batch)
        mean = momentum * mean + (1 - momentum) * batch.mean((0, 2, 3))
        var = momentum * var + (1 - momentum) * batch.var((0, 2, 3))
    buffers = dict(layer.named_buffers())
    torch.testing.assert_close(buffers["running_mean"], mean)
    torch.testing.assert_close(buffers["running_var"], var)
    expected = (X - mean.view(5, 1, 1)) / (var.view(5, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(layer.eval()(X), expected)


def noisy(body: dict[str, float | str], x: torch.Tensor, draws: int) -> torch.Tensor:
    """Return the mean of what a layer makes of `x` over draws of its noise."""
    network = build(tuple(x.shape[1:]), body)
    module: nn.Module = first(network)
    total = torch.zeros_like(x)
    for step in range(draws):
        set_noise(network, StepNoise(0, step, CPU))
        total += module(x)
    return total / draws


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["dropout", "spatial_dropout"])
def test_the_expected_value_behind_dropout_is_that_without(kind: str, rate: float) -> None:
    x, draws = X[:8, :, :2, :2], 4000
    mean = noisy({"type": kind, "rate": rate}, x, draws)
    deviation = x.abs() * (rate / (1 - rate) / draws) ** 0.5
    assert ((mean - x).abs() <= 5 * deviation + 1e-6).all()
