"""Figures of quality against formulas written out, and against batches of any size."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.metrics import log_loss

from service.uncertainty.quality import ClassQuality, ValueQuality
from service.uncertainty.samples import ValueSamples
from service.uncertainty.sets import credible_sets, sets_below

ROWS, CLASSES = 600, 5


def draws(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


@pytest.fixture
def classes() -> tuple[np.ndarray, np.ndarray]:
    source = draws(1)
    p = special.softmax(source.normal(size=(ROWS, CLASSES)) * 2, axis=1)
    return p, source.integers(0, CLASSES, ROWS)


def judged(judge: ClassQuality, p: np.ndarray, truth: np.ndarray, parts: int) -> ClassQuality:
    for rows in np.array_split(np.arange(len(p)), parts):
        judge.add(torch.from_numpy(p[rows]), torch.from_numpy(truth[rows]))
    return judge


@pytest.mark.parametrize("parts", [1, 7])
def test_classes_are_judged_as_the_formulas_say(classes: tuple[np.ndarray, np.ndarray], parts: int) -> None:
    p, truth = classes
    found = judged(ClassQuality(0.8, torch.tensor([0.7]).double()), p, truth, parts)
    values = found.values()
    assert values["nll"] == pytest.approx(log_loss(truth, p, labels=range(CLASSES)), rel=1e-9)
    assert values["brier"] == pytest.approx(((p - np.eye(CLASSES)[truth]) ** 2).sum(1).mean())
    sets = [set(order[: np.searchsorted(np.cumsum(row[order]), 0.8) + 1]) for row in p for order in [np.argsort(-row)]]
    assert values["coverage"] == pytest.approx(np.mean([t in s for t, s in zip(truth, sets, strict=True)]))
    assert values["sharpness"] == pytest.approx(np.mean([len(s) for s in sets]))
    conformal = 1 - p <= 0.7
    assert values["conformal"]["coverage"] == pytest.approx(conformal[np.arange(ROWS), truth].mean())
    assert values["conformal"]["sharpness"] == pytest.approx(conformal.sum(1).mean())
    points = found.reliability()
    assert sum(point["rows"] for point in points) == ROWS
    gap = sum(point["rows"] * abs(point["observed"] - point["confidence"]) for point in points) / ROWS
    assert values["ece"] == pytest.approx(gap)


def test_labels_are_judged_each_as_a_yes_or_no() -> None:
    source = draws(2)
    p, truth = source.random((ROWS, 3)), (source.random((ROWS, 3)) < 0.4).astype(np.float32)
    values = judged(ClassQuality(0.9, torch.tensor([0.5, 0.9, np.inf]).double()), p, truth, 3).values()
    assert values["nll"] == pytest.approx(-np.log(np.where(truth > 0, p, 1 - p)).mean())
    assert values["brier"] == pytest.approx(((p - truth) ** 2).mean())
    assert values["coverage"] is values["sharpness"] is None
    inside = 1 - p <= np.array([0.5, 0.9, np.inf])
    assert values["conformal"]["coverage"] == pytest.approx(inside[truth > 0].mean())
    assert values["conformal"]["sharpness"] == pytest.approx(inside.sum(1).mean())


def said(samples: np.ndarray, noise: float | None) -> ValueSamples:
    variance = (lambda o: torch.full_like(o, noise**2)) if noise is not None else (lambda o: None)
    taken = ValueSamples(lambda x: x, lambda x: x, (), variance)
    taken.add(torch.from_numpy(samples))
    return taken


@pytest.mark.parametrize("parts", [1, 6])
def test_numbers_are_judged_as_the_formulas_say(parts: int) -> None:
    source = draws(3)
    samples, y = source.normal(size=(25, ROWS, 2)), source.normal(size=(ROWS, 2)) * 2
    judge = ValueQuality(0.8, torch.tensor([1.5, 2.0]).double())
    for rows in np.array_split(np.arange(ROWS), parts):
        judge.add(said(samples[:, rows], 1.2).result(), torch.from_numpy(y[rows]))
    values = judge.values()
    mean, std = samples.mean(0), np.sqrt(samples.var(0) + 1.2**2)
    assert values["rmse"] == pytest.approx(np.sqrt(((y - mean) ** 2).mean()))
    # Gal and Ghahramani 2016, appendix, eq. 22.
    densities = special.logsumexp(stats.norm.logpdf(y, samples, 1.2), axis=0) - np.log(len(samples))
    assert values["nll"] == pytest.approx(-densities.mean())
    assert values["sharpness"] == pytest.approx(std.mean())
    u = stats.norm.cdf((y - samples) / 1.2).mean(0)
    assert values["coverage"] == pytest.approx((np.abs(u - 0.5) <= 0.4).mean())
    wide = np.array([1.5, 2.0]) * std
    assert values["conformal"]["coverage"] == pytest.approx((np.abs(y - mean) <= wide).mean())
    assert values["conformal"]["sharpness"] == pytest.approx(2 * wide.mean())
    levels = np.arange(1, 20) / 20
    observed = [(2 * np.abs(u - 0.5) <= level).mean() for level in levels]
    np.testing.assert_allclose([point["observed"] for point in judge.reliability()], observed)
    assert values["ece"] == pytest.approx(np.abs(observed - levels).mean())


def test_predictions_that_tell_the_truth_have_no_calibration_error() -> None:
    source = draws(4)
    mean, std = source.normal(size=(20_000, 1)), 0.7
    judge = ValueQuality(0.9)
    judge.add(said(mean[None], std).result(), torch.from_numpy(mean + source.normal(size=mean.shape) * std))
    values = judge.values()
    assert values["ece"] < 0.01 and values["coverage"] == pytest.approx(0.9, abs=0.01)


def test_without_known_noise_the_samples_themselves_are_taken_for_normal() -> None:
    source = draws(5)
    samples, y = source.normal(size=(25, ROWS, 2)), source.normal(size=(ROWS, 2))
    judge = ValueQuality(0.9)
    judge.add(said(samples, None).result(), torch.from_numpy(y))
    expected = -stats.norm.logpdf(y, samples.mean(0), samples.std(0)).mean()
    assert judge.values()["nll"] == pytest.approx(expected)


def test_samples_far_apart_are_not_taken_for_one_normal_distribution() -> None:
    samples = np.array([-10.0, 10.0]).reshape(2, 1, 1)
    judge = ValueQuality(0.9)
    judge.add(said(samples, 1.0).result(), torch.full((1, 1), 10.0).double())
    assert judge.values()["nll"] == pytest.approx(np.log(2) + 0.5 * np.log(2 * np.pi))


def test_a_spread_of_nothing_has_no_likelihood() -> None:
    judge = ValueQuality(0.9)
    judge.add(said(np.ones((1, 4, 1)), None).result(), torch.full((4, 1), 2.0).double())
    values = judge.values()
    assert values["nll"] is None and values["coverage"] == 0.0 and values["sharpness"] == 0.0


def test_sets_take_the_likeliest_classes_first() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.95, 0.05, 0.0]]).double()
    assert credible_sets(p, 0.75).tolist() == [[True, True, False], [True, False, True], [True, False, False]]
    assert sets_below(p, torch.tensor([0.4]).double()).tolist() == [
        [False] * 3,
        [False, False, True],
        [True, False, False],
    ]
