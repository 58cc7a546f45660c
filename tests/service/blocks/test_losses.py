"""Losses against their formulas, written out in numpy."""

import numpy as np
import pytest
import torch

from service.blocks.losses import BinaryCrossEntropy, CrossEntropy, Huber, Loss, Mae, Mse, Target

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
