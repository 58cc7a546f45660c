"""Metrics against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from service.blocks.metrics import Metric, TopKAccuracy

SOURCE = np.random.default_rng(0)
PROBABILITIES = SOURCE.dirichlet(np.ones(4), size=200)
LABELS = SOURCE.integers(0, 4, size=200)
GUESS = PROBABILITIES.argmax(1)
VALUES, TRUTH = SOURCE.normal(size=(200, 1)) + 5, SOURCE.normal(size=(200, 1)) + 5

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
}


def measured(name: str) -> float:
    metric = Metric.members()[name].model_validate({"k": 2} if name == "top_k_accuracy" else {})
    classes = metric.task == "classification"
    prediction, target = (PROBABILITIES, LABELS) if classes else (VALUES, TRUTH)
    halves = [
        metric.sums(torch.tensor(prediction[part]), torch.tensor(target[part])) for part in (slice(90), slice(90, 200))
    ]
    return metric.value(halves[0] + halves[1])


@pytest.mark.parametrize("name", Metric.members())
def test_is_scikit_learns(name: str) -> None:
    assert measured(name) == pytest.approx(EXPECTED[name], rel=1e-9)


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
