"""Networks that predict labels, noise, counts, shares and quantiles: trained for real, and asked."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.data.checks import check_columns
from service.data.profile import ColumnProfile
from service.predict.cache import LoadedModel, load
from service.predict.messages import PredictRequest
from service.predict.predict import predict
from service.problems import parse_spec
from service.settings import Settings
from service.store import models
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.runs import attempt, put, queue

ROWS = 600


def csv(**columns: Any) -> bytes:
    text = io.StringIO()
    text.write(",".join(columns) + "\n")
    np.savetxt(text, np.column_stack(list(columns.values())), delimiter=",", fmt="%.6g")
    return text.getvalue().encode()


def spec(loss: Any, target: Any, **more: Any) -> dict[str, Any]:
    layers = [
        {"type": "dense", "units": 32, "activation": "tanh"},
        {"type": "dropout", "rate": 0.05},
        {"type": "dense", "units": "auto"},
    ]
    return {
        "network": {"layers": layers},
        "loss": loss,
        "optimizer": {"type": "adam", "learning_rate": 0.01},
        "data": {"target": target, "features": ["x"], "split": {"validation": 0.1}, **more},
        "training": {"epochs": 80, "batch_size": 64},
    }


def trained(store: Store, settings: Settings, dataset: Dataset, body: dict[str, Any]) -> LoadedModel:
    job = attempt(store, settings, queue(store, dataset, body))
    assert job.status == "succeeded", job.error_message
    return load(store, str(job.model))


def asked(model: LoadedModel, settings: Settings, x: Any, **more: Any) -> list[Any]:
    request = PredictRequest.model_validate({"rows": [[float(v)] for v in x], "mc_samples": 50, **more})
    return list(predict(model, request, settings).predictions)


X = np.random.default_rng(0).uniform(-1, 1, ROWS)
GRID = np.linspace(-0.9, 0.9, 19)


def test_the_noise_of_the_data_is_told_from_that_of_the_network(
    sqlite_store: Store, settings: Settings, tmp_path: Path
) -> None:
    def noise(x: Any) -> Any:
        return 20 * (0.1 + 0.4 * (x + 1))

    y = 100 + 50 * X + noise(X) * np.random.default_rng(1).normal(size=ROWS)
    dataset = put(sqlite_store, tmp_path / "d.csv", csv(x=X, y=y))
    model = trained(sqlite_store, settings, dataset, spec("gaussian_nll", "y", target_preprocessing="standardize"))
    found = asked(model, settings, GRID, quantiles=[0.05, 0.5, 0.95])
    aleatoric = np.array([p["aleatoric_std"] for p in found])
    assert np.corrcoef(aleatoric, noise(GRID))[0, 1] > 0.95
    assert np.abs(aleatoric / noise(GRID) - 1).mean() < 0.3
    assert np.abs(np.array([p["mean"] for p in found]) - (100 + 50 * GRID)).mean() < 4
    for p in found:
        assert p["std"] ** 2 == pytest.approx(p["epistemic_std"] ** 2 + p["aleatoric_std"] ** 2)
        assert p["quantiles"]["0.05"] < p["quantiles"]["0.5"] < p["quantiles"]["0.95"]
        assert p["quantiles"]["0.95"] - p["mean"] == pytest.approx(1.645 * p["std"], rel=0.1)
    fresh = np.random.default_rng(2).uniform(-1, 1, 400)
    truth = 100 + 50 * fresh + noise(fresh) * np.random.default_rng(3).normal(size=400)
    inside = [
        p["quantiles"]["0.05"] <= y <= p["quantiles"]["0.95"]
        for p, y in zip(asked(model, settings, fresh), truth, strict=True)
    ]
    assert 0.82 < np.mean(inside) < 0.97


def test_quantiles_cover_what_they_say(sqlite_store: Store, settings: Settings, tmp_path: Path) -> None:
    y = 3 * X + np.random.default_rng(1).exponential(1.0, ROWS)
    dataset = put(sqlite_store, tmp_path / "d.csv", csv(x=X, y=y))
    model = trained(sqlite_store, settings, dataset, spec({"type": "quantile", "levels": [0.1, 0.5, 0.9]}, "y"))
    found = asked(model, settings, GRID)
    assert all(list(p["predicted_quantiles"]) == ["0.1", "0.5", "0.9"] for p in found)
    truth = {level: 3 * GRID - np.log(1 - float(level)) for level in ("0.1", "0.5", "0.9")}
    for level, values in truth.items():
        assert np.abs(np.array([p["predicted_quantiles"][level] for p in found]) - values).mean() < 0.4
    assert all(p["mean"] == pytest.approx(p["predicted_quantiles"]["0.5"]) for p in found)


def test_counts_have_rates(sqlite_store: Store, settings: Settings, tmp_path: Path) -> None:
    y = np.random.default_rng(1).poisson(np.exp(1 + X))
    dataset = put(sqlite_store, tmp_path / "d.csv", csv(x=X, y=y))
    model = trained(sqlite_store, settings, dataset, spec("poisson", "y"))
    means = np.array([p["mean"] for p in asked(model, settings, GRID)])
    assert np.abs(means / np.exp(1 + GRID) - 1).mean() < 0.15


def test_shares_sum_to_one(sqlite_store: Store, settings: Settings, tmp_path: Path) -> None:
    first = 1 / (1 + np.exp(-2 * X))
    dataset = put(sqlite_store, tmp_path / "d.csv", csv(x=X, a=first, b=1 - first))
    model = trained(sqlite_store, settings, dataset, spec("kl_divergence", ["a", "b"]))
    found = np.array([p["mean"] for p in asked(model, settings, GRID)])
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp(-2 * GRID)), atol=0.05)


def test_labels_may_hold_together(sqlite_store: Store, settings: Settings, tmp_path: Path) -> None:
    dataset = put(sqlite_store, tmp_path / "d.csv", csv(x=X, high=X > 0.3, outer=np.abs(X) > 0.5))
    model = trained(sqlite_store, settings, dataset, spec("binary_cross_entropy", ["high", "outer"]))
    found = asked(model, settings, [-0.9, 0.0, 0.4, 0.9], return_samples=True)
    assert [p["labels"] for p in found] == [["outer"], [], ["high"], ["high", "outer"]]
    for p in found:
        assert set(p["probabilities"]) == set(p["probabilities_std"]) == {"high", "outer"}
        assert p["predictive_entropy"] >= p["expected_entropy"] >= 0
        assert np.mean(p["samples"], axis=0) == pytest.approx(list(p["probabilities"].values()))
    with sqlite_store.read() as session:
        row = models.get(session, model.id)
    assert (row.task, row.classes) == ("multi_label", ["high", "outer"])
    assert row.metrics["validation"]["accuracy"] > 0.9 and row.metrics["validation"]["f1"] > 0.85


def problems(dataset: Dataset, body: dict[str, Any]) -> list[tuple[str, str]]:
    body["data"]["dataset"] = dataset.id
    columns = [ColumnProfile.model_validate(column) for column in dataset.columns]
    return [(p.path, p.message) for p in check_columns(parse_spec(json.dumps(body).encode()), columns)]


def test_what_a_loss_cannot_take_is_refused_by_name(sqlite_store: Store, settings: Settings, tmp_path: Path) -> None:
    dataset = put(sqlite_store, tmp_path / "d.csv", csv(x=X, y=X - 0.5, half=np.round(X * 2) / 2 + 0.25))
    assert problems(dataset, spec("binary_cross_entropy", ["half", "y"]))[0] == (
        "data.target", "the target 'half' holds other values than 0 and 1, or true and false",
    )  # fmt: skip
    assert problems(dataset, spec("poisson", "y", target_preprocessing="standardize"))[0][0] == (
        "data.target_preprocessing"
    )
    for loss, target, message in (("poisson", "y", "below 0"), ("kl_divergence", ["y", "half"], "no shares")):
        job = attempt(sqlite_store, settings, queue(sqlite_store, dataset, spec(loss, target)))
        assert (job.status, job.error_code) == ("failed", "invalid_spec")
        assert message in str(job.error_message)


def test_a_confusion_matrix_is_kept_with_the_model_and_has_no_curve(
    sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    body = spec("cross_entropy", "target") | {"metrics": ["accuracy", "confusion_matrix", "roc_auc"]}
    del body["data"]["features"]
    body["data"]["preprocessing"] = "standardize"
    model = trained(sqlite_store, settings, wine, body)
    with sqlite_store.read() as session:
        measured = models.get(session, model.id).metrics["validation"]
    matrix = np.array(measured["confusion_matrix"])
    assert matrix.shape == (3, 3) and matrix.sum() == 18
    assert np.trace(matrix) / 18 == pytest.approx(measured["accuracy"])
