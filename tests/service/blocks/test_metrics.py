"""Metrics against scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn import metrics as reference

from service.blocks.class_metrics import TopKAccuracy
from service.blocks.metrics import Metric

SOURCE = np.random.default_rng(0)
PROBABILITIES = SOURCE.dirichlet(np.ones(4), size=200)
LABELS = SOURCE.integers(0, 4, size=200)
GUESS = PROBABILITIES.argmax(1)
VALUES, TRUTH = SOURCE.normal(size=(200, 1)) + 5, SOURCE.normal(size=(200, 1)) + 5


def calibration_error() -> float:
    """Return the error, written out bin by bin."""
    sure, right = PROBABILITIES.max(axis=1), GUESS == LABELS
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (sure > low) & (sure <= low + 1 / 15)
        if inside.any():
            total += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    return float(total)


EXPECTED = {
    "accuracy": reference.accuracy_score(LABELS, GUESS),
    "precision": reference.precision_score(LABELS, GUESS, average="macro"),
    "recall": reference.recall_score(LABELS, GUESS, average="macro"),
    "f1": reference.f1_score(LABELS, GUESS, average="macro"),
    "top_k_accuracy": reference.top_k_accuracy_score(LABELS, PROBABILITIES, k=2),
    "mse": reference.mean_squared_error(TRUTH, VALUES),
    "rmse": reference.root_mean_squared_error(TRUTH, VALUES),
    "mae": reference.mean_absolute_error(TRUTH, VALUES),
    "r2": reference.r2_score(TRUTH, VALUES),
    "mape": reference.mean_absolute_percentage_error(TRUTH, VALUES),
    "log_loss": reference.log_loss(LABELS, PROBABILITIES),
    "brier": float(np.mean(np.sum((PROBABILITIES - np.eye(PROBABILITIES.shape[1])[LABELS]) ** 2, axis=1))),
    "roc_auc": reference.roc_auc_score(LABELS, PROBABILITIES, multi_class="ovr"),
    "pr_auc": reference.average_precision_score(np.eye(PROBABILITIES.shape[1])[LABELS], PROBABILITIES),
    "confusion_matrix": reference.confusion_matrix(LABELS, GUESS).tolist(),
    "gaussian_log_likelihood": float(norm.logpdf(TRUTH, VALUES, np.sqrt(0.5)).mean()),
    "ece": calibration_error(),
}
BINNED = {"roc_auc": 2e-3, "pr_auc": 5e-3}
"""How far off the metrics may be that count in bins."""


def measured(name: str) -> Any:
    metric = Metric.members()[name].model_validate({"k": 2} if name == "top_k_accuracy" else {})
    classes = "classification" in metric.tasks
    prediction, target = (PROBABILITIES, LABELS) if classes else (VALUES, TRUTH)
    halves = [
        metric.sums(*(torch.tensor(values[part]) for values in (prediction, target, np.full_like(prediction, 0.5))))
        for part in (slice(90), slice(90, 200))
    ]
    return metric.value(halves[0] + halves[1])


@pytest.mark.parametrize("name", Metric.members())
def test_is_scikit_learns(name: str) -> None:
    assert name in EXPECTED, f"say what {name} is to be compared with"
    found, expected = np.array(measured(name)), np.array(EXPECTED[name])
    np.testing.assert_allclose(found, expected, rtol=BINNED.get(name, 1e-9))


def test_more_places_than_classes_are_all_of_them() -> None:
    metric = TopKAccuracy(k=50)
    assert metric.key == "top_50_accuracy"
    assert metric.value(metric.sums(torch.tensor(PROBABILITIES), torch.tensor(LABELS))) == 1


def test_a_class_that_nobody_saw_does_not_count() -> None:
    recall = Metric.members()["recall"].model_validate({})
    sums = recall.sums(torch.eye(4)[[0, 1, 1]], torch.tensor([0, 1, 1]))
    assert recall.value(sums) == 1


def test_explained_variance_of_a_constant_is_not_a_number() -> None:
    r2 = Metric.members()["r2"].model_validate({})
    assert math.isnan(r2.value(r2.sums(torch.randn(5, 1), torch.ones(5, 1))))


MANY = np.random.default_rng(5).random((200, 3))
HELD = (MANY + 0.5 * np.random.default_rng(6).normal(size=(200, 3)) > 0.5).astype(np.float32)
OF_LABELS: list[tuple[str, dict[str, str], float]] = [
    ("accuracy", {}, float(((MANY >= 0.5) == (HELD > 0)).mean())),
    *(
        (name, {"average": average}, float(score(HELD, MANY >= 0.5, average=average)))
        for name, score in (
            ("precision", reference.precision_score),
            ("recall", reference.recall_score),
            ("f1", reference.f1_score),
        )
        for average in ("macro", "micro")
    ),
    ("roc_auc", {}, float(reference.roc_auc_score(HELD, MANY))),
    ("pr_auc", {}, float(reference.average_precision_score(HELD, MANY))),
    ("log_loss", {}, float(np.mean([reference.log_loss(HELD[:, i], MANY[:, i]) for i in range(3)]))),
    ("brier", {}, float(((MANY - HELD) ** 2).mean())),
]


@pytest.mark.parametrize(("name", "fields", "expected"), OF_LABELS)
def test_of_several_labels_is_scikit_learns(name: str, fields: dict[str, str], expected: float) -> None:
    metric = Metric.members()[name].model_validate(fields)
    assert metric.key == (f"micro_{name}" if fields.get("average") == "micro" else name)
    halves = [metric.sums(torch.tensor(MANY[part]), torch.tensor(HELD[part])) for part in (slice(90), slice(90, 200))]
    assert metric.value(halves[0] + halves[1]) == pytest.approx(expected, rel=BINNED.get(name, 1e-6))


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_averages_of_classes_are_scikit_learns(name: str, average: str) -> None:
    metric = Metric.members()[name].model_validate({"average": average})
    peer = {"precision": reference.precision_score, "recall": reference.recall_score, "f1": reference.f1_score}[name]
    found = metric.value(metric.sums(torch.tensor(PROBABILITIES), torch.tensor(LABELS)))
    assert found == pytest.approx(peer(LABELS, GUESS, average=average), rel=1e-9)


def test_ranking_metrics_know_how_many_classes_there_are_and_pass_over_those_nobody_has() -> None:
    metric = Metric.members()["roc_auc"].model_validate({})
    source = np.random.default_rng(0)
    for classes in (2, 7, 100, 125, 400):
        p = source.dirichlet(np.ones(classes), 300)
        y = source.integers(0, classes // 2 + 1, 300)
        expected = [reference.roc_auc_score(y == c, p[:, c]) for c in np.unique(y)]
        found = metric.value(metric.sums(torch.tensor(p), torch.tensor(y)))
        assert found == pytest.approx(np.mean(expected), abs=5e-3)
    one = metric.value(metric.sums(torch.tensor([[0.2, 0.8]]), torch.tensor([1])))
    assert np.isnan(one)


def test_certain_probabilities_have_a_place_and_a_finite_loss() -> None:
    p, y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
    values = {name: Metric.members()[name].model_validate({}) for name in ("roc_auc", "pr_auc", "log_loss", "ece")}
    found = {name: metric.value(metric.sums(p, y)) for name, metric in values.items()}
    assert found["roc_auc"] == pytest.approx(0.75) and found["ece"] == pytest.approx(1 / 3)
    assert found["log_loss"] == pytest.approx(-np.log(1e-15) / 3)


def test_shares_of_zero_are_left_out() -> None:
    metric = Metric.members()["mape"].model_validate({})
    sums = metric.sums(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [2.0]]))
    assert metric.value(sums) == 0.5
    assert np.isnan(metric.value(metric.sums(torch.tensor([[1.0]]), torch.tensor([[0.0]]))))
