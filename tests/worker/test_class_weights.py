"""Rows that count more than others: by their class."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from service.data.checks import check_columns
from service.data.profile import ColumnProfile
from service.settings import Settings
from service.store.engine import Store
from service.store.tables import Dataset
from tests.support.uploaded import spec_of
from tests.worker.runs import attempt, changed, outcome, put, queue
from worker.data import load


def rare(rows: int = 120) -> bytes:
    """Two overlapping classes, the second in every tenth row."""
    draw = np.random.default_rng(0)
    text = io.StringIO()
    text.write("n,target\n")
    for i in range(rows):
        text.write(f"{draw.normal(1.5 if i % 10 == 0 else 0.0):.4f},{'rare' if i % 10 == 0 else 'common'}\n")
    return text.getvalue().encode()


@pytest.fixture
def dataset(sqlite_store: Store, tmp_path: Path) -> Dataset:
    return put(sqlite_store, tmp_path / "rare.csv", rare())


def weighted(weights: Any, loss: str = "cross_entropy") -> Any:
    spec = spec_of("cross_entropy", target="target", split={"validation": 0.2})
    kind = type(spec.loss) if loss == "cross_entropy" else spec_of(loss, target="target").loss.__class__
    return spec.model_copy(update={"loss": kind.model_validate({"class_weights": weights})})


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "focal", "hinge"])
def test_balanced_is_what_scikit_learn_calls_so(sqlite_store: Store, dataset: Dataset, loss: str) -> None:
    data = load(sqlite_store, dataset, weighted("balanced", loss))
    assert data.weight is not None
    y = data.y.numpy()[data.train]
    np.testing.assert_allclose(data.weight.numpy()[data.train], compute_sample_weight("balanced", y), rtol=1e-6)


def test_weights_by_class_leave_the_others_at_one(sqlite_store: Store, dataset: Dataset) -> None:
    data = load(sqlite_store, dataset, weighted({"rare": 7.5}))
    assert data.weight is not None and data.target.classes == ("common", "rare")
    np.testing.assert_allclose(data.weight, np.where(data.y == 1, 7.5, 1.0))
    assert load(sqlite_store, dataset, weighted(None)).weight is None


def columns(dataset: Dataset) -> list[ColumnProfile]:
    return [ColumnProfile.model_validate(column) for column in dataset.columns]


def test_classes_that_the_target_lacks_are_refused(dataset: Dataset) -> None:
    (problem,) = check_columns(weighted({"rare": 2.0, "rear": 3.0}), columns(dataset))
    assert (problem.path, problem.got, problem.allowed) == ("loss.class_weights", "rear", ["common", "rare"])
    (problem,) = check_columns(weighted({"rare": 0.0, "common": 0.0}), columns(dataset))
    assert "leaves no class that counts" in problem.message


def test_weights_find_the_rare_class_and_count_in_the_loss(
    sqlite_store: Store, settings: Settings, dataset: Dataset
) -> None:
    recalls, losses = [], []
    for weights in (None, "balanced"):
        spec = changed(
            network={"layers": [{"type": "dense", "units": "auto"}]},
            loss={"type": "cross_entropy", "class_weights": weights},
            training={"epochs": 40},
            metrics=["recall"],
        )
        job = attempt(sqlite_store, settings, queue(sqlite_store, dataset, spec))
        found = outcome(sqlite_store, job.id)[2]["train"]
        recalls.append(found["recall"])
        losses.append(found["loss"])
    assert recalls[1] > recalls[0] + 0.1
    assert losses[1] > losses[0]  # the rows that are hard count more
