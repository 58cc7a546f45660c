"""The noise of a regression against SciPy, and against the noise that data were made with."""

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats

from service.blocks.distribution_losses import GaussianNll
from service.blocks.value_losses import Mse
from service.data.target import TargetCodec
from service.uncertainty.value_noise import ValueNoise, fit_deviation, fit_factor

ROWS = 500


def draws(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def made(noise: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Values [ROWS, 1], and samples [30, ROWS, 1] of their means that are off by `spread`."""
    source = draws(2)
    mean = source.normal(size=(ROWS, 1)) * 10
    return mean + source.normal(size=mean.shape) * noise, mean + source.normal(size=(30, ROWS, 1)) * spread


@pytest.mark.parametrize("noise", [0.01, 2.0, 300.0])
@pytest.mark.parametrize("spread", [0.001, 1.0])
def test_the_deviation_is_the_likeliest_one(noise: float, spread: float) -> None:
    y, values = made(noise, spread)
    found = fit_deviation(torch.from_numpy(y), torch.from_numpy(values)).item()

    def surprise(log: float) -> float:
        densities = stats.norm.logpdf(y, values, np.exp(log))
        return float(-(special.logsumexp(densities, axis=0) - np.log(30)).sum())

    bounds = (np.log(found) - 2, np.log(found) + 2)
    expected = np.exp(optimize.minimize_scalar(surprise, bounds=bounds, method="bounded").x)
    assert surprise(np.log(found)) <= surprise(np.log(expected)) + 1e-3
    if noise > 3 * spread:
        assert found == pytest.approx(noise, rel=0.12)


def test_a_perfect_fit_has_noise_above_zero() -> None:
    y = torch.linspace(-5, 5, 11).double()[:, None]
    found = fit_deviation(y, y.expand(4, 11, 1))
    assert 0 < found.item() < 1e-5
    zero = torch.zeros(3, 2).double()
    assert (fit_deviation(zero, zero[None]) > 0).all()


def test_columns_are_fitted_each_for_itself() -> None:
    (first, others), (second, more) = made(1.0, 0.1), made(50.0, 0.1)
    y, values = np.hstack([first, second]), np.concatenate([others, more], axis=2)
    found = fit_deviation(torch.from_numpy(y), torch.from_numpy(values))
    np.testing.assert_allclose(found, [1.0, 50.0], rtol=0.12)


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_predicted_noise_gets_the_factor_that_is_missing(factor: float) -> None:
    source = draws(3)
    stds = source.uniform(0.5, 3, size=(ROWS, 1))
    y = source.normal(size=(ROWS, 1)) * stds * factor
    found = fit_factor(torch.from_numpy(y), torch.zeros(4, ROWS, 1).double(), torch.from_numpy(stds).expand(4, -1, -1))
    assert found.item() == pytest.approx(factor, rel=0.12)


def codec(scale: float) -> TargetCodec:
    return TargetCodec(("y",), "regression", None, 1, np.zeros(1), np.array([scale]))


def test_noise_is_in_the_targets_own_units() -> None:
    outputs = torch.tensor([[1.0, 0.3], [2.0, -1.0]])
    predicted = GaussianNll().variance(outputs).double()
    found = ValueNoise(GaussianNll(), codec(5.0))(outputs)
    assert found is not None
    np.testing.assert_allclose(found, predicted * 25, rtol=1e-6)
    scaled = ValueNoise(GaussianNll(), codec(5.0), factor=torch.tensor([2.0]).double())(outputs)
    assert scaled is not None
    np.testing.assert_allclose(scaled, predicted * 100, rtol=1e-6)
    given = ValueNoise(Mse(), codec(5.0), precision=torch.tensor([0.25]).double())(outputs[:, :1])
    assert given is not None and given.tolist() == [[4.0], [4.0]]
    assert ValueNoise(Mse(), codec(5.0))(outputs) is None
