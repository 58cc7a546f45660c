"""Sampling that stops when the mean is known well enough: each row for itself, and always in the same place."""

from typing import Any

import numpy as np
import pytest

from service.predict.messages import PredictRequest
from service.predict.predict import predict
from tests.service.predict.asking import SETTINGS, Load, ask, table


def error(samples: list[Any]) -> float:
    """The largest standard error of the means over the samples."""
    values = np.array(samples).reshape(len(samples), -1)
    return float((values.std(0, ddof=1) / np.sqrt(len(values))).max())


def test_rows_get_as_many_samples_as_they_need(loaded: Load, wine: Any, wine_csv: bytes) -> None:
    rows, tolerance = table(wine_csv)[0], 0.01
    asked = {"tolerance": tolerance, "min_samples": 20}
    answer = ask(loaded(wine), rows, mc_samples=2000, adaptive=asked, return_samples=True)
    counts = [p["mc_samples"] for p in answer["predictions"]]
    assert min(counts) == 20 < max(counts) <= 2000 == answer["mc_samples"]
    for prediction in answer["predictions"]:
        assert len(prediction["samples"]) == prediction["mc_samples"]
        assert error(prediction["samples"]) <= tolerance
        assert list(prediction["probabilities"].values()) == pytest.approx(np.mean(prediction["samples"], axis=0))


def test_the_limit_of_samples_holds(loaded: Load, diabetes: Any, diabetes_csv: bytes) -> None:
    rows = table(diabetes_csv)[0][:30]
    answer = ask(loaded(diabetes), rows, mc_samples=50, adaptive={"tolerance": 1e-6})
    assert {p["mc_samples"] for p in answer["predictions"]} == {50} == {answer["mc_samples"]}
    few = ask(loaded(diabetes), rows, mc_samples=5, adaptive={"tolerance": 1e-6})
    assert {p["mc_samples"] for p in few["predictions"]} == {5}


def test_the_tolerance_is_in_the_targets_own_units(loaded: Load, diabetes: Any, diabetes_csv: bytes) -> None:
    rows = table(diabetes_csv)[0][:60]
    asked = {"tolerance": 2.5}
    found = ask(loaded(diabetes), rows, mc_samples=5000, adaptive=asked, return_samples=True)["predictions"]
    assert all(error(p["samples"]) <= 2.5 for p in found)
    assert len({p["mc_samples"] for p in found}) > 3


def test_what_is_answered_begins_like_the_answer_with_all_samples(
    loaded: Load, diabetes: Any, diabetes_csv: bytes
) -> None:
    model, rows = loaded(diabetes), table(diabetes_csv)[0][:20]
    full = ask(model, rows, mc_samples=400, seed=4, return_samples=True)["predictions"]
    stopped = ask(model, rows, mc_samples=400, seed=4, return_samples=True, adaptive={"tolerance": 2.0})["predictions"]
    for a, b in zip(stopped, full, strict=True):
        np.testing.assert_allclose(a["samples"], b["samples"][: a["mc_samples"]], rtol=1e-4)
    (alone,) = ask(model, rows[7:8], mc_samples=400, seed=4, adaptive={"tolerance": 2.0})["predictions"]
    assert alone["mc_samples"] == stopped[7]["mc_samples"]


@pytest.mark.parametrize("name", ["wine", "diabetes", "labelled"])
def test_the_same_request_has_the_same_bytes(name: str, request: pytest.FixtureRequest, loaded: Load) -> None:
    trained = request.getfixturevalue(name)
    first, second = loaded(trained), loaded(trained)
    rows = np.random.Generator(np.random.Philox(1)).normal(size=(40, len(first.features.columns))).tolist()
    asked = PredictRequest.model_validate({"rows": rows, "mc_samples": 300, "adaptive": {"tolerance": 0.02}, "seed": 3})
    answer = predict(first, asked, SETTINGS).encode()
    assert answer == predict(first, asked, SETTINGS).encode() == predict(second, asked, SETTINGS).encode()


def test_a_network_without_dropout_has_nothing_to_adapt(loaded: Load, plain: Any) -> None:
    answer = ask(loaded(plain), [[1.0] * 13], adaptive={"tolerance": 0.1})
    assert answer["mc_samples"] == 0 == answer["predictions"][0]["mc_samples"]
