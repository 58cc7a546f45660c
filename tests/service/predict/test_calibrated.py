"""Predictions of models that were calibrated on validation rows: what is applied, and what it can promise."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from service.errors import InvalidInput
from service.predict.messages import ClassPrediction, LabelPrediction, PredictRequest, ValuePrediction
from service.predict.predict import predict
from service.uncertainty.scores import Scores
from tests.service.predict.asking import SETTINGS, Load, ask, table


def test_the_temperature_is_applied_unless_one_asks_for_bare_confidences(
    loaded: Load, sure_wine: Any, wine_csv: bytes
) -> None:
    model, rows = loaded(sure_wine), table(wine_csv)[0][::9]
    assert model.calibration is not None and model.calibration.temperature is not None
    x = torch.from_numpy(model.features.transform(model.features.read_rows(rows)))
    logits = model.monte_carlo.samples(x, 30, 0, 1 << 24).double()
    for asked, temperature in ((None, model.calibration.temperature[0]), (True, None), (False, 1.0)):
        answer = ask(model, rows, mc_samples=30, calibrated=asked)
        assert answer["calibrated"] is (asked is not False)
        expected = (logits / (temperature or model.calibration.temperature[0])).softmax(-1).mean(0).tolist()
        for prediction, p in zip(answer["predictions"], expected, strict=True):
            assert list(prediction["probabilities"].values()) == pytest.approx(p, rel=1e-6)


def test_one_pass_is_the_bare_network_unless_one_asks(loaded: Load, sure_wine: Any, wine_csv: bytes) -> None:
    model, rows = loaded(sure_wine), table(wine_csv)[0][:3]
    bare, asked = ask(model, rows, mc_samples=0), ask(model, rows, mc_samples=0, calibrated=True)
    assert (bare["calibrated"], asked["calibrated"]) == (False, True)
    assert bare["predictions"] != asked["predictions"]
    x = torch.from_numpy(model.features.transform(model.features.read_rows(rows)))
    expected = model.monte_carlo.network(x).double().softmax(-1).tolist()
    for prediction, p in zip(bare["predictions"], expected, strict=True):
        assert list(prediction["probabilities"].values()) == pytest.approx(p, rel=1e-5)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_a_set_holds_the_classes_that_cannot_be_ruled_out(
    coverage: float, loaded: Load, sure_wine: Any, wine_csv: bytes
) -> None:
    model, (rows, truth) = loaded(sure_wine), table(wine_csv)
    assert model.calibration is not None
    (limit,) = model.calibration.threshold(coverage).tolist()
    answers = ask(model, rows, coverage=coverage)["predictions"]
    for prediction in answers:
        TypeAdapter(ClassPrediction).validate_python(prediction)
        likeliest = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
        assert prediction["set"] == [name for name, p in likeliest if 1 - p <= limit]
    assert np.mean([t in p["set"] for t, p in zip(truth, answers, strict=True)]) >= coverage - 0.1


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_an_interval_holds_the_value_as_often_as_promised(
    coverage: float, loaded: Load, sure_diabetes: Any, diabetes_csv: bytes
) -> None:
    model, (rows, targets) = loaded(sure_diabetes), table(diabetes_csv)
    truth, answers = np.array(targets, float), ask(model, rows, coverage=coverage, intervals=[0.5, 0.9])["predictions"]
    low, high = np.array([p["interval"] for p in answers]).T
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(coverage, abs=0.1)
    for prediction in answers[::50]:
        TypeAdapter(ValuePrediction).validate_python(prediction)
        assert prediction["aleatoric_std"] > 10
        assert prediction["std"] ** 2 == pytest.approx(
            prediction["epistemic_std"] ** 2 + prediction["aleatoric_std"] ** 2
        )
        assert np.mean(prediction["interval"]) == pytest.approx(prediction["mean"])
        # The quantiles and the credible interval are those of one distribution, noise and all.
        assert prediction["intervals"]["0.9"] == pytest.approx(list(prediction["quantiles"].values()), rel=1e-9)
        narrow, wide = prediction["intervals"]["0.5"], prediction["intervals"]["0.9"]
        assert wide[0] < narrow[0] < prediction["mean"] < narrow[1] < wide[1]
    within = np.array(
        [p["intervals"]["0.9"][0] <= y <= p["intervals"]["0.9"][1] for p, y in zip(answers, truth, strict=True)]
    )
    assert within.mean() == pytest.approx(0.9, abs=0.06)


def test_a_precision_of_ones_own_stands_for_the_fitted_one(loaded: Load, sure_diabetes: Any, diabetes: Any) -> None:
    for trained in (sure_diabetes, diabetes):
        model = loaded(trained)
        (prediction,) = ask(model, [[0.0] * 10], noise_precision=0.01)["predictions"]
        assert prediction["aleatoric_std"] == pytest.approx(10.0)
        assert prediction["std"] == pytest.approx(np.hypot(prediction["epistemic_std"], 10))
        (bare,) = ask(model, [[0.0] * 10], calibrated=False if trained is sure_diabetes else None)["predictions"]
        assert bare["aleatoric_std"] is None and bare["std"] == bare["epistemic_std"] == prediction["epistemic_std"]
        width = prediction["quantiles"]["0.95"] - prediction["quantiles"]["0.05"]
        assert width > bare["quantiles"]["0.95"] - bare["quantiles"]["0.05"]


def test_labels_have_their_sets_and_ratios(loaded: Load, labelled: Any) -> None:
    model = loaded(labelled)
    answer = ask(model, [[2.0, -2.0], [0.0, 0.0]], coverage=0.9, return_samples=True, mc_samples=40)
    sure, torn = answer["predictions"]
    for prediction in (sure, torn):
        TypeAdapter(LabelPrediction).validate_python(prediction)
        votes = (np.array(prediction["samples"]) >= 0.5).mean(0)
        assert prediction["variation_ratio"] == pytest.approx(np.minimum(votes, 1 - votes).mean())
    assert sure["labels"] == sure["set"] == ["left"]
    assert set(torn["set"]) == {"left", "right"}


def test_the_variation_ratio_counts_the_dissenting_samples(loaded: Load, sure_wine: Any, wine_csv: bytes) -> None:
    answers = ask(loaded(sure_wine), table(wine_csv)[0][60:130], mc_samples=31, return_samples=True)["predictions"]
    for prediction in answers:
        votes = np.bincount(np.array(prediction["samples"]).argmax(1), minlength=3)
        assert prediction["variation_ratio"] == pytest.approx(1 - votes.max() / 31)
    assert max(p["variation_ratio"] for p in answers) > 0


def test_a_network_without_dropout_offers_its_calibrated_pass(
    loaded: Load, train: Any, layers: Any, wine_csv: bytes
) -> None:
    body = {
        "network": {"layers": layers(dropout=None)},
        "loss": "cross_entropy",
        "data": {"preprocessing": "standardize"},
    }
    model = loaded(train(wine_csv, "csv", body, calibrated=True))
    answer = ask(model, table(wine_csv)[0][:2], coverage=0.9)
    assert answer["calibrated"] and answer["mc_samples"] == 0
    assert "calibrated on validation rows" in answer["note"] and "says nothing" in answer["note"]
    assert all(prediction["set"] for prediction in answer["predictions"])


@pytest.mark.parametrize(
    ("options", "path", "said"),
    [
        ({"coverage": 0.9}, "coverage", "validation rows"),
        ({"calibrated": True}, "calibrated", "validation rows"),
        ({"abstain": {"coverage": 0.9}}, "abstain.coverage", "validation rows"),
        ({"intervals": [0.9]}, "intervals", "predicts classes"),
        ({"noise_precision": 1.0}, "noise_precision", "predicts classes"),
        ({"abstain": {"above": {"std": 1.0}}}, "abstain.above.std", "not known"),
    ],
)
def test_what_an_uncalibrated_model_of_classes_lacks_is_said(
    options: dict[str, Any], path: str, said: str, loaded: Load, wine: Any
) -> None:
    (problem,) = refused(loaded(wine), 13, options)
    assert problem.path == path and said in problem.message


@pytest.mark.parametrize(
    ("options", "path", "said"),
    [
        ({"coverage": 0.999}, "coverage", "validation rows can speak of"),
        ({"coverage": 0.9, "calibrated": False}, "coverage", "calibrated predictions only"),
        ({"coverage": 0.9, "mc_samples": 0}, "coverage", "mc_samples is 0"),
        ({"coverage": 0.9, "noise_precision": 2.0}, "coverage", "noise_precision"),
        ({"calibrated": True, "noise_precision": 2.0}, "noise_precision", "one of them"),
        ({"noise_precision": [1.0, 2.0]}, "noise_precision", "one a target"),
        ({"abstain": {"coverage": 0.5, "by": "mutual_information"}}, "abstain.by", "not known"),
        (
            {"abstain": {"above": {"aleatoric_std": 1.0}}, "calibrated": False},
            "abstain.above.aleatoric_std",
            "not known",
        ),
    ],
)
def test_what_a_calibration_cannot_promise_is_refused(
    options: dict[str, Any], path: str, said: str, loaded: Load, sure_diabetes: Any
) -> None:
    (problem,) = refused(loaded(sure_diabetes), 10, options)
    assert problem.path == path and said in problem.message


def refused(model: Any, columns: int, options: dict[str, Any]) -> tuple[Any, ...]:
    request = PredictRequest.model_validate({"rows": [[0.0] * columns], **options})
    with pytest.raises(InvalidInput) as caught:
        predict(model, request, SETTINGS)
    return caught.value.problems


def test_rows_above_a_limit_are_marked(loaded: Load, sure_wine: Any, wine_csv: bytes) -> None:
    model, rows = loaded(sure_wine), table(wine_csv)[0]
    limits = {"predictive_entropy": 0.3, "variation_ratio": 0.1}
    for prediction in ask(model, rows, abstain={"above": limits})["predictions"]:
        TypeAdapter(ClassPrediction).validate_python(prediction)
        assert prediction["abstained"] is any(prediction[name] > limit for name, limit in limits.items())
    assert "abstained" not in ask(model, rows[:1])["predictions"][0]


@pytest.mark.parametrize("by", [None, "epistemic_std"])
def test_the_surest_share_of_validation_rows_sets_the_limit(
    by: str | None, loaded: Load, sure_diabetes: Any, diabetes_csv: bytes
) -> None:
    model, rows = loaded(sure_diabetes), table(diabetes_csv)[0]
    asked = {"coverage": 0.7} | ({"by": by} if by else {})
    answers = ask(model, rows, abstain=asked)["predictions"]
    accepted = np.array([not p["abstained"] for p in answers])
    assert accepted.mean() == pytest.approx(0.7, abs=0.1)
    doubt = np.array([p[by or "std"] for p in answers])
    assert doubt[accepted].max() <= doubt[~accepted].min()


def test_the_largest_doubt_of_several_targets_counts(loaded: Load, train: Any, layers: Any) -> None:
    source = np.random.Generator(np.random.Philox(2))
    x = source.normal(size=80)
    lines = [
        "a,small,large",
        *(f"{v},{v + n},{100 * v + 50 * m}" for v, (n, m) in zip(x, source.normal(size=(80, 2)), strict=True)),
    ]
    body = {
        "network": {"layers": layers()},
        "loss": "mse",
        "data": {"target": ["small", "large"], "target_preprocessing": "standardize"},
    }
    model = loaded(train("\n".join(lines).encode(), "csv", body, calibrated=True))
    (prediction,) = ask(model, [[0.1]], coverage=0.8, intervals=[0.9], abstain={"above": {"std": 20.0}})["predictions"]
    assert prediction["abstained"] and prediction["std"][0] < 20 < prediction["std"][1]
    low, high = prediction["interval"]
    assert len(low) == len(high) == 2 and low[1] < prediction["mean"][1] < high[1]
    assert np.shape(prediction["intervals"]["0.9"]) == (2, 2)
    (given,) = ask(model, [[0.1]], noise_precision=[1.0, 0.01])["predictions"]
    assert given["aleatoric_std"] == pytest.approx([1.0, 10.0])


def test_thresholds_are_those_of_the_rows_that_were_held_out(loaded: Load, sure_diabetes: Any) -> None:
    """Asked with the same seed and samples, the validation rows themselves have exactly the scores that were kept."""
    model = loaded(sure_diabetes)
    assert model.calibration is not None
    (scores,) = model.calibration.conformal
    assert scores.rows == model.calibration.rows == len(scores.kept)
    assert Scores.of(torch.tensor(scores.kept)).conformal(0.9) == pytest.approx(scores.conformal(0.9))
