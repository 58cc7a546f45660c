"""How variance goes through units and layers, from the initializer on."""

import pytest
import torch

from tests.support.networks import build

WIDTH, DEPTH, ROWS, SEEDS = 200, 10, 20, 40


def test_the_variance_of_a_sum_of_ten_unit_normals_is_ten() -> None:
    initializer = {"type": "normal", "std": 1.0}
    layer = {"type": "dense", "units": 50_000, "use_bias": False, "initializer": initializer}
    sums = build((10,), layer, outputs=50_000)(torch.ones(1, 10))[0]
    # The variance of 50,000 samples deviates by sqrt(2 / 50,000), 0.6 %.
    assert sums.var().item() == pytest.approx(10, rel=0.04)
    assert sums.mean().item() == pytest.approx(0, abs=0.08)


def kept(activation: str, initializer: str, scale: float = 1.0) -> float:
    """Return the share of the mean square of signals that comes through DEPTH layers; the mean over some networks."""
    layers = [{"type": "dense", "units": WIDTH, "activation": activation, "initializer": initializer}] * DEPTH
    shares = []
    for seed in range(SEEDS):
        x = scale * torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            out = build((WIDTH,), *layers, outputs=WIDTH, seed=seed)(x)
        shares.append(float(out.square().mean() / x.square().mean()))
    return sum(shares) / SEEDS


@pytest.mark.parametrize("initializer", ["he_normal", "he_uniform"])
def test_he_keeps_the_signal_through_rectifiers(initializer: str) -> None:
    # Half of the values are zero: their variance is that of the inputs because the mean square is.
    assert kept("relu", initializer) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("initializer", ["glorot_normal", "glorot_uniform"])
def test_glorot_keeps_the_signal_through_tanh_where_tanh_is_straight(initializer: str) -> None:
    # The derivation holds around zero; at variance 0.0025 tanh takes off half a percent a layer.
    assert kept("tanh", initializer, scale=0.05) == pytest.approx(1, rel=0.2)


def test_glorot_halves_the_signal_at_every_rectifier() -> None:
    assert kept("relu", "glorot_normal") ** (1 / DEPTH) == pytest.approx(0.5, rel=0.03)


def test_lecun_keeps_mean_zero_and_variance_one_through_selu() -> None:
    assert kept("selu", "lecun_normal") == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(("std", "fate"), [(0.01, "vanishes"), (0.1, "explodes")])
def test_a_deviation_that_ignores_the_width_vanishes_or_explodes(std: float, fate: str) -> None:
    layers = [{"type": "dense", "units": WIDTH, "initializer": {"type": "normal", "std": std}}] * DEPTH
    x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    share = float(build((WIDTH,), *layers, outputs=WIDTH)(x).detach().square().mean() / x.square().mean())
    # WIDTH * std^2 a layer: 0.02 or 2.
    assert share ** (1 / DEPTH) == pytest.approx(WIDTH * std**2, rel=0.1)
    assert (share < 1e-10) is (fate == "vanishes")
