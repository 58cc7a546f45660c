"""Models of jobs with replicas: predictions of all members together, as clients get them."""

import math
from typing import Any

import numpy as np
import pytest

from service.predict.cache import LoadedModel, load
from service.predict.evaluate import evaluate
from service.predict.evaluation_messages import EvaluateRequest
from service.predict.messages import PredictRequest
from service.predict.specimen import specimen
from service.predict.together import answer_together
from service.settings import Settings
from service.store import models
from service.store.engine import Store
from service.store.tables import Dataset
from tests.service.predict.asking import ask, table
from tests.worker.packed.test_run import REPLICAS, lone, replicated
from tests.worker.runs import attempt, queue

BARE = [{"type": "dense", "units": 12, "activation": "relu"}, {"type": "dense", "units": "auto"}]


@pytest.fixture
def trained(sqlite_store: Store, settings: Settings, wine: Dataset) -> Any:
    def of(spec: dict[str, Any]) -> LoadedModel:
        job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
        return load(sqlite_store, str(job.model))

    return of


@pytest.fixture
def rows(wine_csv: bytes) -> list[Any]:
    return table(wine_csv)[0][:5]


def probabilities(prediction: dict[str, Any]) -> list[float]:
    return list(prediction["probabilities"].values())


def test_an_ensemble_of_plain_networks_answers_their_mean_and_their_spread(trained: Any, rows: list[Any]) -> None:
    network = {"layers": BARE}
    ensemble = trained(replicated(network=network))
    answer = ask(ensemble, rows, calibrated=False, return_samples=True)
    alone = [ask(trained(lone(k, network=network)), rows, calibrated=False) for k in range(REPLICAS)]
    assert (answer["members"], answer["mc_samples"], answer["note"]) == (REPLICAS, 0, None)
    for place, found in enumerate(answer["predictions"]):
        each = np.array([probabilities(one["predictions"][place]) for one in alone])
        np.testing.assert_allclose(np.array(found["samples"]), each, atol=2e-3)
        np.testing.assert_allclose(probabilities(found), each.mean(0), atol=2e-3)
        np.testing.assert_allclose(list(found["probabilities_std"].values()), each.std(0), atol=2e-3)
        entropies = -(each * np.log(each)).sum(1)
        assert found["expected_entropy"] == pytest.approx(entropies.mean(), abs=5e-3)
        assert found["mutual_information"] > 0


def test_members_and_masks_spread_together(trained: Any, rows: list[Any]) -> None:
    ensemble = trained(replicated())
    answer = ask(ensemble, rows, mc_samples=6, seed=2, return_samples=True)
    assert (answer["members"], answer["mc_samples"]) == (REPLICAS, 6)
    assert all(len(prediction["samples"]) == 6 * REPLICAS for prediction in answer["predictions"])
    bare = ask(ensemble, rows, mc_samples=0, return_samples=True)
    assert all(len(prediction["samples"]) == REPLICAS for prediction in bare["predictions"])
    assert any(prediction["mutual_information"] > 1e-4 for prediction in bare["predictions"])
    longer = ask(ensemble, rows, mc_samples=9, seed=2, return_samples=True)
    for found, more in zip(answer["predictions"], longer["predictions"], strict=True):
        np.testing.assert_allclose(found["samples"], more["samples"][: 6 * REPLICAS], atol=1e-6)
    adaptive = ask(ensemble, rows, mc_samples=40, adaptive={"tolerance": 0.5, "min_samples": 2})
    assert [prediction["mc_samples"] for prediction in adaptive["predictions"]] == [2] * len(rows)


def test_requests_that_run_together_have_the_answers_that_they_have_alone(
    trained: Any, rows: list[Any], settings: Settings
) -> None:
    ensemble = trained(replicated())
    requests = [PredictRequest(rows=[row], mc_samples=4, seed=1) for row in rows]
    for request, outcome in zip(requests, answer_together(ensemble, requests, settings), strict=True):
        alone = ask(ensemble, request.rows, mc_samples=4, seed=1)["predictions"][0]
        assert not isinstance(outcome, Exception)
        together: Any = outcome.predictions[0]  # type: ignore[union-attr]
        np.testing.assert_allclose(probabilities(together), probabilities(alone), atol=1e-5)


def test_an_ensemble_is_calibrated_evaluated_and_described_as_any_model(
    trained: Any, rows: list[Any], sqlite_store: Store, settings: Settings, wine: Dataset
) -> None:
    ensemble = trained(replicated())
    assert ensemble.calibration is not None and ensemble.calibration.mc_samples == 50
    assert ask(ensemble, rows, coverage=0.8)["predictions"][0]["set"]
    found = evaluate(ensemble, EvaluateRequest(dataset=wine.id, mc_samples=3), sqlite_store, settings)
    assert found.metrics["accuracy"] > 0.8
    assert len(specimen(ensemble, 2, 3, 1)) == 2
    with sqlite_store.read() as session:
        row = models.get(session, ensemble.id)
    assert row.members == REPLICAS and row.size > 3 * 4 * row.parameters
    assert ensemble.size > REPLICAS * 4 * row.parameters
    assert set(row.metrics) == {"train", "validation", "test"} and math.isfinite(row.metrics["test"]["loss"])


def test_a_regression_has_the_spread_of_its_members(
    sqlite_store: Store, settings: Settings, wine: Dataset, rows: list[Any]
) -> None:
    names = list(rows[0])
    data = {"target": names[-1], "features": names[:-1], "preprocessing": "standardize", "split": {"validation": 0.2}}
    spec = replicated(network={"layers": BARE}, loss="mse", data=data)
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, spec))
    model = load(sqlite_store, str(job.model))
    asked = [{name: row[name] for name in names[:-1]} for row in rows]
    answer = ask(model, asked, calibrated=False, return_samples=True)
    for prediction in answer["predictions"]:
        samples = np.array(prediction["samples"])
        assert len(samples) == REPLICAS
        assert prediction["epistemic_std"] == pytest.approx(samples.std(), rel=1e-4)
        assert prediction["mean"] == pytest.approx(samples.mean(), rel=1e-4)
