"""Losses against their formulas, written out in numpy."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import rel_entr, softmax

from service.blocks.distribution_losses import LEAST_VARIANCE, GaussianNll, KlDivergence, Poisson, Quantile
from service.blocks.losses import BinaryCrossEntropy, CrossEntropy, Focal, Hinge, Loss, Target
from service.blocks.value_losses import Huber, LogCosh, Mae, Mse, SmoothL1

SOURCE = np.random.default_rng(0)
LOGITS = SOURCE.normal(size=(6, 3))
LABELS = np.array([0, 1, 2, 2, 1, 0])
GUESS, TRUTH = SOURCE.normal(size=(6, 2)) * 2, SOURCE.normal(size=(6, 2))


def rows(loss: Loss, output: np.ndarray, target: np.ndarray) -> np.ndarray:
    return loss.per_row(torch.tensor(output), torch.tensor(target)).numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing: float) -> None:
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    target = (1 - smoothing) * np.eye(3)[LABELS] + smoothing / 3
    expected = -(target * np.log(p)).sum(1)
    np.testing.assert_allclose(rows(CrossEntropy(label_smoothing=smoothing), LOGITS, LABELS), expected)
    np.testing.assert_allclose(CrossEntropy().link(torch.tensor(LOGITS)).numpy(), p)


def test_binary_cross_entropy() -> None:
    z, y = LOGITS[:, :1], np.array([0, 1, 1, 0, 1, 0])
    p = 1 / (1 + np.exp(-z[:, 0]))
    np.testing.assert_allclose(rows(BinaryCrossEntropy(), z, y), -(y * np.log(p) + (1 - y) * np.log(1 - p)))
    np.testing.assert_allclose(BinaryCrossEntropy().link(torch.tensor(z)).numpy(), np.stack([1 - p, p], -1))


def test_binary_cross_entropy_stays_finite_and_exact_far_out() -> None:
    loss = BinaryCrossEntropy()
    assert rows(loss, np.array([[200.0], [-200.0]]), np.array([0, 1])).tolist() == [200.0, 200.0]
    assert loss.link(torch.tensor([[-80.0]], dtype=torch.float64))[0, 1].item() == pytest.approx(np.exp(-80), rel=1e-9)


def test_regression_losses() -> None:
    error = GUESS - TRUTH
    np.testing.assert_allclose(rows(Mse(), GUESS, TRUTH), (error**2).mean(1))
    np.testing.assert_allclose(rows(Mae(), GUESS, TRUTH), np.abs(error).mean(1))
    size = np.abs(error)
    huber = np.where(size <= 0.7, size**2 / 2, 0.7 * (size - 0.35)).mean(1)
    np.testing.assert_allclose(rows(Huber(delta=0.7), GUESS, TRUTH), huber)


def test_outputs_follow_from_the_target() -> None:
    assert CrossEntropy().outputs(Target(("a", "b", "c"), 1)) == 3
    assert BinaryCrossEntropy().outputs(Target((0, 1), 1)) == 1
    assert Mse().outputs(Target(None, 4)) == 4


@pytest.mark.parametrize("classes", [None, ("one",), ("a", "b", "c")])
def test_binary_cross_entropy_needs_two_classes(classes: tuple[str, ...] | None) -> None:
    with pytest.raises(ValueError, match="exactly two classes"):
        BinaryCrossEntropy().outputs(Target(classes, 1))


def test_cross_entropy_needs_classes() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        CrossEntropy().outputs(Target(None, 1))


def test_losses_of_several_labels_are_means_of_binary_ones() -> None:
    held, loss = (TRUTH > 0).astype(np.float32), BinaryCrossEntropy(multi_label=True)
    p = 1 / (1 + np.exp(-GUESS))
    expected = -(held * np.log(p) + (1 - held) * np.log(1 - p)).mean(1)
    np.testing.assert_allclose(rows(loss, GUESS, held), expected)
    np.testing.assert_allclose(loss.link(torch.tensor(GUESS)).numpy(), p)
    assert (loss.task, loss.outputs(Target(None, 5))) == ("multi_label", 5)


@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_smoothed_labels_move_to_the_middle(smoothing: float) -> None:
    z, y = LOGITS[:, :1], np.array([0, 1, 1, 0, 1, 0])
    p, t = 1 / (1 + np.exp(-z[:, 0])), y * (1 - smoothing) + smoothing / 2
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    np.testing.assert_allclose(rows(BinaryCrossEntropy(label_smoothing=smoothing), z, y), expected)


@pytest.mark.parametrize("gamma", [0.0, 2.0, 5.0])
def test_focal(gamma: float) -> None:
    p = softmax(LOGITS, axis=1)[np.arange(6), LABELS]
    np.testing.assert_allclose(rows(Focal(gamma=gamma), LOGITS, LABELS), -((1 - p) ** gamma) * np.log(p))


def test_hinge() -> None:
    expected = []
    for z, y in zip(LOGITS, LABELS, strict=True):
        expected.append(max(0.0, 1 + max(z[c] for c in range(3) if c != y) - z[y]))
    np.testing.assert_allclose(rows(Hinge(), LOGITS, LABELS), expected)


def test_smooth_absolute_errors() -> None:
    size = np.abs(GUESS - TRUTH)
    expected = np.where(size < 0.7, size**2 / 1.4, size - 0.35).mean(1)
    np.testing.assert_allclose(rows(SmoothL1(beta=0.7), GUESS, TRUTH), expected)
    np.testing.assert_allclose(rows(SmoothL1(beta=0.7), GUESS, TRUTH), rows(Huber(delta=0.7), GUESS, TRUTH) / 0.7)
    np.testing.assert_allclose(rows(LogCosh(), GUESS, TRUTH), np.log(np.cosh(size)).mean(1))


def test_gaussian_likelihood_is_scipys() -> None:
    output = SOURCE.normal(size=(6, 4))
    variance = np.log1p(np.exp(output[:, 2:])) + LEAST_VARIANCE
    expected = -stats.norm.logpdf(TRUTH, output[:, :2], np.sqrt(variance)).mean(1)
    np.testing.assert_allclose(rows(GaussianNll(), output, TRUTH), expected)
    found = GaussianNll().variance(torch.tensor(output))
    assert found is not None
    np.testing.assert_allclose(found.numpy(), variance)
    np.testing.assert_allclose(GaussianNll().link(torch.tensor(output)).numpy(), output[:, :2])
    assert GaussianNll().outputs(Target(None, 2)) == 4


def test_gaussian_likelihood_stays_finite_where_a_row_is_met_exactly() -> None:
    found = rows(GaussianNll(), np.array([[0.0, -200.0], [0.0, 200.0]]), np.array([[0.0], [5.0]]))
    assert np.isfinite(found).all() and found[0] == pytest.approx(0.5 * np.log(2 * np.pi * LEAST_VARIANCE))


def test_poisson_likelihood_is_scipys_less_a_constant() -> None:
    counts = SOURCE.poisson(3.0, size=(6, 2)).astype(np.float64)
    full = -stats.poisson.logpmf(counts, np.exp(GUESS)).mean(1)
    constant = np.array([[np.log(np.arange(1, c + 1)).sum() for c in row] for row in counts]).mean(1)
    np.testing.assert_allclose(rows(Poisson(), GUESS, counts), full - constant)
    np.testing.assert_allclose(Poisson().link(torch.tensor(GUESS)).numpy(), np.exp(GUESS))
    assert Poisson().refusal(counts) is None
    assert "below 0" in str(Poisson().refusal(np.array([[1.0], [-1.0]])))


def test_divergence_is_scipys() -> None:
    shares = SOURCE.dirichlet(np.ones(3), size=6)
    shares[0] = [0.0, 0.5, 0.5]
    expected = rel_entr(shares, softmax(LOGITS, axis=1)).sum(1)
    np.testing.assert_allclose(rows(KlDivergence(), LOGITS, shares), expected)
    np.testing.assert_allclose(KlDivergence().link(torch.tensor(LOGITS)).numpy(), softmax(LOGITS, axis=1))
    assert KlDivergence().refusal(shares) is None
    assert "sum to 1 in row 1" in str(KlDivergence().refusal(np.array([[0.5, 0.5], [0.5, 0.4]])))
    assert "no shares" in str(KlDivergence().refusal(np.array([[1.5, -0.5]])))
    with pytest.raises(ValueError, match="at least two target columns"):
        KlDivergence().outputs(Target(None, 1))


def test_pinball_loss_is_least_at_the_quantile() -> None:
    loss = Quantile(levels=[0.1, 0.5, 0.9])
    output = SOURCE.normal(size=(6, 6))
    error = TRUTH[:, :, None] - output.reshape(6, 2, 3)
    q = np.array(loss.levels)
    expected = np.where(error >= 0, q * error, (q - 1) * error).mean((1, 2))
    np.testing.assert_allclose(rows(loss, output, TRUTH), expected)
    drawn = SOURCE.normal(size=(4000, 1))
    grid = np.linspace(-2, 2, 401)
    totals = [rows(Quantile(levels=[0.9]), np.full((4000, 1), g), drawn).mean() for g in grid]
    assert grid[int(np.argmin(totals))] == pytest.approx(np.quantile(drawn, 0.9), abs=0.02)


def test_quantiles_that_cross_are_put_in_order() -> None:
    loss = Quantile(levels=[0.1, 0.5, 0.9])
    found = loss.quantiles(torch.tensor([[3.0, 1.0, 2.0, 0.0, 5.0, 4.0]]))
    assert found.tolist() == [[[1.0, 2.0, 3.0], [0.0, 4.0, 5.0]]]
    assert loss.link(torch.tensor([[3.0, 1.0, 2.0, 0.0, 5.0, 4.0]])).tolist() == [[2.0, 4.0]]
    assert loss.outputs(Target(None, 2)) == 6
    for levels in ([0.5, 0.5], [0.9, 0.1], [0.0], [1.0], []):
        with pytest.raises(ValueError, match="level"):
            Quantile(levels=levels)
