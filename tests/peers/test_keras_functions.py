"""Activations, losses and metrics against Keras' of the same meaning."""

from typing import Any

import pytest
import torch

from service.blocks.activations import Activation
from service.blocks.losses import Loss
from service.blocks.metrics import Metric
from tests.peers.keras_on_torch import agree, array, ignore_warnings, keras
from tests.service.blocks.test_every_block import smallest

pytestmark = ignore_warnings

ACTIVATION_FIELDS: dict[str, dict[str, Any]] = {
    "leaky_relu": {"negative_slope": 0.01},  # Keras' own default is 0.2
    "gelu": {"approximate": False},
    "softmax": {"axis": 1},
}
"""Arguments of Keras' that say what our defaults do."""
ACTIVATIONS = [name for name in Activation.members() if callable(getattr(keras.activations, name, None))]


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    block = Activation.members()[name]
    x = 4 * batch(3, 5, 7)
    theirs = getattr(keras.activations, name)(x, **ACTIVATION_FIELDS.get(name, {}))
    agree(block.model_validate(smallest(block)).build()(x), theirs)


def test_learned_slope() -> None:
    x, theirs = batch(3, 5), keras.layers.PReLU(shared_axes=[1], alpha_initializer=keras.initializers.Constant(0.25))
    agree(Activation.members()["prelu"].model_validate({}).build()(x), theirs(x))


def test_most_activations_are_compared() -> None:
    assert len(ACTIVATIONS) >= 16 and {"relu", "gelu", "selu", "silu", "hard_sigmoid", "celu"} <= {*ACTIVATIONS}


none = "none"
losses = keras.losses
LOSSES: list[tuple[str, dict[str, Any], Any]] = [
    ("cross_entropy", {}, losses.SparseCategoricalCrossentropy(from_logits=True, reduction=none)),
    (
        "cross_entropy",
        {"label_smoothing": 0.1},
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction=none),
    ),
    ("binary_cross_entropy", {}, losses.BinaryCrossentropy(from_logits=True, reduction=none)),
    # Keras weighs the classes in focal loss, by a quarter unless told.
    ("focal", {}, losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True, reduction=none)),
    ("focal", {"gamma": 0.7}, losses.CategoricalFocalCrossentropy(1.0, 0.7, from_logits=True, reduction=none)),
    ("hinge", {}, losses.CategoricalHinge(reduction=none)),
    ("mse", {}, losses.MeanSquaredError(reduction=none)),
    ("mae", {}, losses.MeanAbsoluteError(reduction=none)),
    ("huber", {"delta": 0.7}, losses.Huber(delta=0.7, reduction=none)),
    ("log_cosh", {}, losses.LogCosh(reduction=none)),
]


@pytest.mark.parametrize(
    ("name", "fields", "theirs"), LOSSES, ids=[f"{name}{fields or ''}" for name, fields, _ in LOSSES]
)
def test_loss(name: str, fields: dict[str, Any], theirs: Any) -> None:
    block = Loss.members()[name]
    loss = block.model_validate({**smallest(block), **fields})
    if loss.task == "regression":
        output, target = 2 * batch(20, 3), batch(20, 3, seed=1)
        agree(loss.per_row(output, target), theirs(target, output))
        return
    if name == "binary_cross_entropy":
        output, classes = 3 * batch(20, 1), torch.arange(20) % 2
        agree(loss.per_row(output, classes), theirs(classes[:, None], output))
        return
    # Keras' hinge takes the largest of the others or zero; here zero is no class, so let one of them be above it.
    output, classes = 2 * batch(20, 4) + 3, torch.arange(20) % 4
    sparse = "Sparse" in type(theirs).__name__
    agree(loss.per_row(output, classes), theirs(classes if sparse else torch.eye(4)[classes], output))


metrics = keras.metrics
METRICS: list[tuple[str, dict[str, Any], Any]] = [
    ("accuracy", {}, metrics.SparseCategoricalAccuracy),
    ("top_k_accuracy", {"k": 2}, lambda: metrics.SparseTopKCategoricalAccuracy(k=2)),
    ("f1", {}, lambda: metrics.F1Score(average="macro")),
    ("mse", {}, metrics.MeanSquaredError),
    ("rmse", {}, metrics.RootMeanSquaredError),
    ("mae", {}, metrics.MeanAbsoluteError),
    ("r2", {}, metrics.R2Score),
]


@pytest.mark.parametrize(("name", "fields", "peer"), METRICS, ids=[name for name, *_ in METRICS])
def test_metric_over_two_batches(name: str, fields: dict[str, Any], peer: Any) -> None:
    metric, theirs = Metric.members()[name].model_validate(fields), peer()
    if metric.task == "classification":
        prediction, target = torch.softmax(batch(60, 4), 1), torch.arange(60) % 4
        truth = torch.eye(4)[target] if name == "f1" else target
    else:
        target = truth = batch(60, 1)
        prediction = target + 0.5 * batch(60, 1, seed=1)
    sums = []
    for part in (slice(25), slice(25, None)):
        sums.append(metric.sums(prediction[part], target[part]))
        theirs.update_state(truth[part], prediction[part])
    assert metric.value(sums[0] + sums[1]) == pytest.approx(float(array(theirs.result())), rel=1e-5)
