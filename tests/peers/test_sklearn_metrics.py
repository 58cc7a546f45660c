"""Metrics against scikit-learn's, where classes are missing, targets are several, or numbers are far from zero."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as peer

from service.blocks.metrics import Metric

Case = tuple[np.ndarray, np.ndarray]
"""What is predicted, and what is so."""


def probabilities(rows: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=rows)


def labels(rows: int, of: list[int], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).choice(of, size=rows)


def never(of: int, found: np.ndarray) -> np.ndarray:
    """Return probabilities that never are highest for a class."""
    found = found.copy()
    found[:, of] = 0.0
    return found


CLASSES: dict[str, Case] = {
    "balanced": (probabilities(300, 4), labels(300, [0, 1, 2, 3])),
    "two classes": (probabilities(50, 2), labels(50, [0, 1])),
    "rare class": (probabilities(200, 3), np.r_[labels(197, [0, 1]), 2, 2, 2]),
    "class never predicted": (never(1, probabilities(90, 3)), labels(90, [0, 1, 2])),
    "class that never comes": (probabilities(90, 3), labels(90, [0, 2])),
    "class neither predicted nor there": (never(1, probabilities(90, 3)), labels(90, [0, 2])),
    "all right": (np.eye(3)[labels(30, [0, 1, 2])], labels(30, [0, 1, 2])),
    "one row": (probabilities(1, 3), np.array([2])),
}


def numbers(rows: int, columns: int, offset: float = 0.0, scale: float = 1.0) -> Case:
    draw = np.random.default_rng(2)
    truth = offset + scale * draw.normal(size=(rows, columns))
    return truth + 0.5 * scale * draw.normal(size=(rows, columns)), truth


NUMBERS: dict[str, Case] = {
    "one column": numbers(200, 1),
    "three columns": numbers(200, 3),
    "far from zero": numbers(200, 1, offset=1e4),
    "small": numbers(200, 1, scale=1e-6),
    "worse than the mean": (-numbers(100, 1)[0], numbers(100, 1)[1]),
}


def macro(score: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda p, y: score(y, p.argmax(1), average="macro", zero_division=0)


PEERS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda p, y: peer.accuracy_score(y, p.argmax(1)),
    "top_k_accuracy": lambda p, y: peer.top_k_accuracy_score(y, p, k=2, labels=range(p.shape[1])),
    "precision": macro(peer.precision_score),
    "recall": macro(peer.recall_score),
    "f1": macro(peer.f1_score),
    # Several columns count as so many rows of one.
    "mse": lambda p, y: peer.mean_squared_error(y.ravel(), p.ravel()),
    "rmse": lambda p, y: peer.root_mean_squared_error(y.ravel(), p.ravel()),
    "mae": lambda p, y: peer.mean_absolute_error(y.ravel(), p.ravel()),
    "r2": lambda p, y: peer.r2_score(y.ravel(), p.ravel()),
}
ASKED = [
    (name, case)
    for name, block in Metric.members().items()
    if name in PEERS
    for case in (CLASSES if block.task == "classification" else NUMBERS)
]


def test_every_peer_is_asked() -> None:
    assert {name for name, _ in ASKED} == set(PEERS)


@pytest.mark.filterwarnings("ignore")  # scikit-learn warns of classes that are missing, which is what is tested
@pytest.mark.parametrize(("name", "case"), ASKED)
def test_is_scikit_learns(name: str, case: str) -> None:
    fields: dict[str, Any] = {"k": 2} if name == "top_k_accuracy" else {}
    metric = Metric.members()[name].model_validate(fields)
    prediction, target = (CLASSES if metric.task == "classification" else NUMBERS)[case]
    if name == "top_k_accuracy" and prediction.shape[1] == 2:
        assert measured(metric, prediction, target) == 1  # scikit-learn takes no more than one of two
        return
    # Sums of squares cancel: R2 loses two digits for every one that the mean has more than the deviation.
    rel = 1e-7 if (name, case) == ("r2", "far from zero") else 1e-12
    assert measured(metric, prediction, target) == pytest.approx(PEERS[name](prediction, target), rel=rel, abs=0)


def measured(metric: Metric, prediction: np.ndarray, target: np.ndarray) -> float:
    """Return the value over batches of seven."""
    parts = [
        metric.sums(torch.tensor(prediction[at : at + 7]), torch.tensor(target[at : at + 7]))
        for at in range(0, len(target), 7)
    ]
    value = metric.value(torch.stack(parts).sum(0))
    assert math.isfinite(value)
    return value
