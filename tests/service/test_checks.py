"""Contradictions inside of a specification."""

from typing import Any

import pytest

from service.errors import Problem
from service.problems import read_draft

DENSE = {"type": "dense", "units": 8, "activation": "relu"}
LAST = {"type": "dense", "units": "auto"}


def found(layers: list[Any] | None = None, **parts: Any) -> list[Problem]:
    data = {"dataset": "ds_" + "0" * 26, "target": "y", **parts.pop("data", {})}
    body = {"network": {"layers": layers or [DENSE, LAST]}, "loss": "cross_entropy", "data": data, **parts}
    return list(read_draft(body).problems)


def test_a_usual_spec_contradicts_nothing() -> None:
    assert found() == []
    assert found([DENSE, "batch_norm", {"type": "activation", "activation": "softmax"}, LAST]) == []


def test_a_network_needs_weights() -> None:
    (problem,) = found(["flatten", {"type": "dropout", "rate": 0.5}])
    assert problem.path == "network.layers"


def test_auto_is_for_the_last_layer_with_weights() -> None:
    (problem,) = found([LAST, LAST, {"type": "dropout", "rate": 0.5}])
    assert (problem.path, problem.got) == ("network.layers[0].units", "auto")


def test_names_stand_for_one_layer() -> None:
    named = {**DENSE, "name": "wide"}
    assert [problem.path for problem in found([named, named, LAST])] == ["network.layers[1].name"]
    assert [problem.path for problem in found([DENSE, {**DENSE, "name": "dense_0"}, LAST])] == [
        "network.layers[1].name"
    ]


@pytest.mark.parametrize(
    ("layers", "path"),
    [
        ([DENSE, {**LAST, "activation": "softmax"}], "network.layers[1].activation"),
        ([DENSE, {**LAST, "activation": "sigmoid"}], "network.layers[1].activation"),
        ([DENSE, LAST, {"type": "activation", "activation": "softmax"}], "network.layers[2].activation"),
    ],
)
def test_losses_of_classes_take_logits(layers: list[Any], path: str) -> None:
    (problem,) = found(layers)
    assert problem.path == path and "logits" in problem.message
    assert found(layers, loss="mse") == []


def test_metrics_suit_the_loss_and_stand_once() -> None:
    first, second = found(metrics=["rmse", "accuracy", "accuracy"])
    assert (first.path, second.path) == ("metrics[0]", "metrics[2]")
    assert "accuracy" in first.allowed and "rmse" not in first.allowed
    several = [{"type": "top_k_accuracy", "k": 2}, {"type": "top_k_accuracy", "k": 3}]
    assert found(metrics=several) == []


@pytest.mark.parametrize("monitor", ["val_loss", "loss", "val_accuracy", "accuracy", "val_top_3_accuracy"])
def test_early_stopping_looks_at_what_is_measured(monitor: str) -> None:
    metrics = ["accuracy", {"type": "top_k_accuracy", "k": 3}]
    assert found(metrics=metrics, regularization={"early_stopping": {"monitor": monitor}}) == []


def test_early_stopping_goes_back_to_the_best_epoch() -> None:
    assert found(training={"keep": "last"}) == []
    assert found(training={"keep": "best"}, regularization={"early_stopping": {}}) == []
    (problem,) = found(training={"keep": "last"}, regularization={"early_stopping": {}})
    assert (problem.path, problem.got) == ("training.keep", "last")


def test_early_stopping_on_something_else_is_refused() -> None:
    (problem,) = found(regularization={"early_stopping": {"monitor": "val_acuracy"}})
    assert problem.path == "regularization.early_stopping.monitor"
    assert 'did you mean "val_accuracy"?' in problem.message
    assert problem.allowed == ["val_loss", "val_accuracy", "loss", "accuracy"]


def test_early_stopping_on_validation_needs_validation_rows() -> None:
    (problem,) = found(regularization={"early_stopping": {}}, data={"split": {"validation": 0}})
    assert "needs validation rows" in problem.message and problem.allowed == ["loss", "accuracy"]
