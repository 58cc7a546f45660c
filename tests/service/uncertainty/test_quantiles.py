"""Quantiles of mixtures against SciPy's root finder, at any depth of the tails."""

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from service.uncertainty.quantiles import mixture_quantiles, quantiles, share_below

LEVELS = [0.001, 0.05, 0.5, 0.9, 0.999]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).normal(size=shape))


@pytest.mark.parametrize("spread", [1e-4, 1.0, 30.0])
def test_quantiles_of_a_mixture_are_where_its_distribution_has_the_level(spread: float) -> None:
    means, stds = numbers(7, 5) * 10 + 3, (numbers(7, 5, seed=1).abs() + 0.1) * spread
    found = mixture_quantiles(means, stds, LEVELS)
    for row in range(5):
        m, s = means[:, row].numpy(), stds[:, row].numpy()
        for place, level in enumerate(LEVELS):

            def excess(x: float, m: object = m, s: object = s, level: float = level) -> float:
                return float(stats.norm.cdf(x, m, s).mean() - level)

            expected = optimize.brentq(excess, m.min() - 9 * s.max(), m.max() + 9 * s.max(), xtol=1e-13, rtol=1e-13)
            assert found[place, row].item() == pytest.approx(expected, rel=1e-8, abs=1e-8 * spread)


def test_one_part_has_the_quantiles_of_a_normal_distribution() -> None:
    found = mixture_quantiles(torch.full((4, 1, 1), 2.0).double(), torch.full((4, 1, 1), 3.0).double(), LEVELS)
    np.testing.assert_allclose(found.flatten(), stats.norm.ppf(LEVELS, 2, 3), rtol=1e-10)


def test_whole_levels_are_finite_and_none_are_none() -> None:
    means, stds = numbers(5, 3), torch.ones(5, 3).double()
    ends = mixture_quantiles(means, stds, [0, 1])
    assert ends.isfinite().all() and (ends[0] < means.amin(0)).all() and (ends[1] > means.amax(0)).all()
    assert mixture_quantiles(means, stds, []).shape == (0, 3)


def test_many_levels_are_those_one_by_one() -> None:
    means, stds = numbers(200, 90), numbers(200, 90, seed=2).abs() + 0.1
    levels = np.linspace(0.01, 0.99, 99).tolist()
    together = mixture_quantiles(means, stds, levels)
    alone = torch.cat([mixture_quantiles(means, stds, [level]) for level in levels])
    np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-9)
    assert (together.diff(dim=0) > 0).all()


def test_the_share_below_a_quantile_is_its_level() -> None:
    means, stds = numbers(11, 4), numbers(11, 4, seed=3).abs() + 0.1
    for level in LEVELS:
        y = mixture_quantiles(means, stds, [level])[0]
        np.testing.assert_allclose(share_below(y, means, stds), level, atol=1e-9)
    middle = quantiles(means, [0.5])[0]
    np.testing.assert_allclose(share_below(middle, means, None), 0.5)
