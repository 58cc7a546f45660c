"""The fast masks are as good as those of `torch.nn.functional.dropout`: their share, their independence, their moments.

All seeds are fixed, so that nothing here is left to chance. Limits are those that independent masks would pass for all
but one seed in a hundred thousand or so.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from service.blocks.noise import STEPS, StepNoise, keep_mask, set_noise
from service.uncertainty.monte_carlo import MonteCarlo
from service.uncertainty.noise import SampleNoise
from tests.service.uncertainty.networks import MIB, OUT, build, drop, rows_of

CPU = torch.device("cpu")
RATES = [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.9]
UNLIKELY = 1e-5
EXACT = [1 / 16, 1 / 4, 1 / 2]
"""Rates that are not rounded, so that outputs without a dropped value are the same number for everybody."""
UNITS = 48


def of_steps(seed: int, key: int, rows: int = 64, steps: int = 64, rate: float = 0.3, part: int = 0) -> Tensor:
    """Masks of training, [steps, rows, UNITS]."""
    noise = StepNoise(seed, 0, CPU, part, parts=2)
    masks = []
    for step in range(steps):
        noise.step = step
        masks.append(noise.mask(key, (rows, UNITS), rate))
    return torch.stack(masks).double()


def of_samples(seed: int, key: int, samples: int = 4096, rate: float = 0.3) -> Tensor:
    """Masks of predictions, [samples, UNITS]."""
    return keep_mask(SampleNoise(seed, 0, samples, CPU).bits(key, (samples, UNITS)), rate).double()


def correlation(a: Tensor, b: Tensor) -> float:
    """The correlation of masks as a number of standard errors."""
    found = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
    return abs(found.item()) * a.numel() ** 0.5


@pytest.mark.parametrize("rate", RATES)
def test_the_probability_is_the_rate_to_one_65536th(rate: float) -> None:
    every = torch.arange(-STEPS // 2, STEPS // 2, dtype=torch.int16)
    mask = keep_mask(every, rate)
    dropped = (mask == 0).double().mean().item()
    assert abs(dropped - rate) <= 0.5 / STEPS
    assert mask.double().mean().item() == pytest.approx(1, rel=1e-7)
    assert mask.max().item() == pytest.approx(1 / (1 - dropped), rel=1e-7)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("drawn", [lambda r: of_steps(3, 1, rate=r), lambda r: of_samples(3, 1, rate=r)])
def test_masks_that_are_drawn_drop_that_share(drawn: Callable[[float], Tensor], rate: float) -> None:
    dropped = (drawn(rate) == 0).flatten()
    exact = round(rate * STEPS) / STEPS
    assert stats.binomtest(int(dropped.sum()), dropped.numel(), exact).pvalue > UNLIKELY


# A 64-bit word holds four values, a count of Philox sixteen: neighbours at these distances come from one draw.
@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 15, 16, 17])
def test_neighbours_are_not_correlated(lag: int) -> None:
    steps, samples = of_steps(5, 0), of_samples(5, 0)
    assert correlation(steps[:, :, :-lag], steps[:, :, lag:]) < 4.5, "units of a row in training"
    assert correlation(steps[:, :-lag], steps[:, lag:]) < 4.5, "rows of a batch"
    assert correlation(steps[:-lag], steps[lag:]) < 4.5, "steps"
    assert correlation(samples[:, :-lag], samples[:, lag:]) < 4.5, "units of a sample"
    assert correlation(samples[:-lag], samples[lag:]) < 4.5, "samples"


def test_seeds_layers_parts_and_purposes_are_not_correlated() -> None:
    trained = [of_steps(seed, key, part=part) for seed in (0, 1, 2**62) for key in (0, 1) for part in (0, 1)]
    predicted = [of_samples(seed, key) for seed in (0, 1, 2**62) for key in (0, 1)]
    masks = torch.stack([mask.flatten() for mask in (*trained, *predicted)])
    found = torch.corrcoef(masks).fill_diagonal_(0.0).abs().max().item()
    assert found * masks.shape[1] ** 0.5 < 5


@pytest.mark.parametrize("mask", [of_steps(11, 2).flatten(0, 1), of_samples(11, 2)], ids=["training", "prediction"])
def test_all_units_together_are_independent(mask: Tensor) -> None:
    # Of independent units the squared correlations of all pairs, times the rows, add up to a chi-squared number.
    pairs = np.corrcoef(mask.numpy().T)[np.triu_indices(UNITS, 1)]
    assert stats.chi2.sf((pairs**2).sum() * len(mask), len(pairs)) > UNLIKELY
    # And how many of a row are dropped is binomial.
    dropped = (mask == 0).sum(1).numpy()
    expected = stats.binom.pmf(np.arange(UNITS + 1), UNITS, round(0.3 * STEPS) / STEPS) * len(mask)
    usual = expected >= 5
    counts = np.bincount(dropped, minlength=UNITS + 1)
    found = [*counts[usual], counts[~usual].sum()]
    assert stats.chisquare(found, [*expected[usual], expected[~usual].sum()]).pvalue > UNLIKELY


@pytest.fixture
def seeded() -> Iterator[None]:
    """A fixed seed for torch's own dropout, which takes no generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        yield


def alike(ours: Tensor, theirs: Tensor) -> None:
    """Two-sample tests: means (Welch), variances (Brown and Forsythe), distributions (Kolmogorov-Smirnov)."""
    a, b = ours.double().numpy(), theirs.double().numpy()
    assert a.std() > 0 and b.std() > 0
    assert stats.ttest_ind(a, b, equal_var=False).pvalue > UNLIKELY
    assert stats.levene(a, b, center="median").pvalue > UNLIKELY
    # Sums of the same terms in another order are the same number.
    assert stats.ks_2samp(a.round(4), b.round(4)).pvalue > UNLIKELY


PEERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "dropout": lambda x, rate: functional.dropout(x, rate),
    "spatial_dropout": lambda x, rate: functional.dropout1d(x, rate),
    "alpha_dropout": lambda x, rate: functional.alpha_dropout(x, rate, training=True),
}


@pytest.mark.parametrize("rate", EXACT)
@pytest.mark.parametrize("name", PEERS)
def test_training_has_the_outputs_of_torchs_dropout(name: str, rate: float, seeded: None) -> None:
    source = torch.Generator().manual_seed(1)
    row, kernel = torch.randn(12, 5, generator=source), torch.randn(60, generator=source)
    x = row.expand(20_000, 12, 5)
    network = build([{"type": name, "rate": rate}, "flatten", OUT], (12, 5))
    set_noise(network, StepNoise(2, 40, CPU))
    dropout = next(iter(network.layers.values()))
    alike(dropout(x).flatten(1) @ kernel, PEERS[name](x, rate).flatten(1) @ kernel)


@pytest.mark.parametrize("rate", EXACT)
def test_samples_have_the_outputs_of_torchs_dropout(rate: float, seeded: None) -> None:
    dense = {"type": "dense", "units": 50, "activation": "relu"}
    network = build([drop(rate), dense, drop(rate), {"type": "dense", "units": "auto"}], (9,), outputs=1)
    row, count = rows_of((9,), 1), 20_000
    ours = MonteCarlo(network).samples(row, count, 4, 64 * MIB)[:, 0, 0]
    _, first, _, last = network.layers.values()
    with torch.inference_mode():
        hidden = functional.dropout(row.expand(count, 9), rate)
        theirs = last(functional.dropout(first(hidden), rate))[:, 0]
    alike(ours, theirs)
