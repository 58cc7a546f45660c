"""`/evaluate` and `/importance` over HTTP, on both databases, and predictions of a calibrated model."""

from typing import Any

import pytest

FIGURES = {"accuracy", "nll", "brier", "ece", "coverage", "sharpness", "conformal"}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def trained(request: pytest.FixtureRequest, wine_csv: bytes) -> tuple[Any, str, str]:
    """A server, a model of the wines, and the data set it learned from."""
    api = request.getfixturevalue(f"{request.param}_api")
    dataset = api.upload(wine_csv)["id"]
    return api, model_of(api, api.spec(dataset, training={"epochs": 20})), dataset


def model_of(api: Any, spec: dict[str, Any]) -> str:
    job = api.submit(spec)["id"]
    api.work(only=job)
    done = api.client.get(f"/v1/jobs/{job}").json()
    assert done["status"] == "succeeded", done["error"]
    return str(done["model"])


def test_a_model_is_evaluated_on_a_data_set(trained: Any) -> None:
    api, model, dataset = trained
    body = {"dataset": dataset, "mc_samples": 20, "seed": 2, "coverage": 0.8}
    answer = api.client.post(f"/v1/models/{model}/evaluate", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["rows"], found["mc_samples"], found["seed"], found["level"]) == (178, 20, 2, 0.8)
    assert found["calibrated"] and "trained on this data set" in found["note"]
    assert set(found["metrics"]) == FIGURES and found["metrics"]["accuracy"] > 0.75
    assert found["metrics"]["conformal"]["coverage"] > 0.7
    assert len(found["risk_coverage"]["points"]) == 20
    assert answer.content == api.client.post(f"/v1/models/{model}/evaluate", json=body).content


def test_rows_with_their_target_are_enough(trained: Any, wine_csv: bytes) -> None:
    api, model, _ = trained
    *values, label = wine_csv.decode().splitlines()[1].split(",")
    body = {"rows": [[*map(float, values), label]], "mc_samples": 0}
    found = api.client.post(f"/v1/models/{model}/evaluate", json=body).json()
    assert (found["rows"], found["dataset"], found["calibrated"], found["note"]) == (1, None, False, None)


def test_columns_have_their_importance(trained: Any) -> None:
    api, model, dataset = trained
    answer = api.client.post(f"/v1/models/{model}/importance", json={"dataset": dataset, "repeats": 2})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["metric"], found["rows"], found["repeats"]) == ("accuracy", 178, 2)
    assert [column["column"] for column in found["columns"]][:2] == ["alcohol", "malic_acid"]
    assert max(column["mean"] for column in found["columns"]) > 0.01


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        ("evaluate", {}, 422, ""),
        ("evaluate", {"dataset": "ds_x"}, 422, "dataset"),
        ("evaluate", {"dataset": "ds_" + "0" * 26}, 422, "dataset"),
        ("evaluate", {"rows": [[1]]}, 422, "rows[0]"),
        ("evaluate", {"rows": [[1]], "dataset": "ds_" + "0" * 26}, 422, ""),
        ("evaluate", {"rows": [[1]], "by": "luck"}, 422, "by"),
        ("evaluate", {"rows": [[1] * 13 + ["class_0"]], "coverage": 1}, 422, "coverage"),
        ("evaluate", {"rows": [[1] * 13 + ["class_0"]], "noise_precision": 2}, 422, "noise_precision"),
        ("importance", {}, 422, "dataset"),
        ("importance", {"dataset": "ds_" + "0" * 26, "repeats": 0}, 422, "repeats"),
        ("importance", {"dataset": "ds_" + "0" * 26, "metric": "luck"}, 422, "metric"),
        ("predict", {"rows": [[1] * 13], "coverage": 0}, 422, "coverage"),
        ("predict", {"rows": [[1] * 13], "coverage": 0.9999}, 422, "coverage"),
        ("predict", {"rows": [[1] * 13], "adaptive": {}}, 422, "adaptive.tolerance"),
        ("predict", {"rows": [[1] * 13], "adaptive": {"tolerance": 0}}, 422, "adaptive.tolerance"),
        ("predict", {"rows": [[1] * 13], "abstain": {}}, 422, "abstain"),
        ("predict", {"rows": [[1] * 13], "abstain": {"above": {"luck": 1}}}, 422, "abstain.above.luck"),
        ("predict", {"rows": [[1] * 13], "abstain": {"above": {"std": 1}}}, 422, "abstain.above.std"),
        ("predict", {"rows": [[1] * 13], "noise_precision": -1}, 422, "noise_precision"),
        ("predict", {"rows": [[1] * 13], "intervals": [0.5]}, 422, "intervals"),
    ],
)
def test_bad_input_is_refused_with_its_path(trained: Any, path: str, body: Any, status: int, where: str) -> None:
    api, model, _ = trained
    answer = api.client.post(f"/v1/models/{model}/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["path"].startswith(where)
    assert answer.json()["errors"][0]["message"]


def test_what_needs_validation_rows_says_so(api: Any, wine_csv: bytes) -> None:
    dataset = api.upload(wine_csv)["id"]
    spec = api.spec(dataset)
    model = model_of(api, {**spec, "data": {**spec["data"], "split": {"validation": 0.0}}})
    assert api.client.get(f"/v1/models/{model}").json()["calibration"] is None
    for more in ({"coverage": 0.9}, {"calibrated": True}, {"abstain": {"coverage": 0.9}}):
        answer = api.client.post(f"/v1/models/{model}/predict", json={"rows": [[1] * 13], **more})
        assert answer.status_code == 422
        assert "trained without validation rows" in answer.json()["errors"][0]["message"]
    assert api.client.post(f"/v1/models/{model}/predict", json={"rows": [[1] * 13]}).json()["calibrated"] is False


def test_a_regression_from_end_to_end(api: Any, diabetes_csv: bytes) -> None:
    lines = diabetes_csv.decode().splitlines()
    training, held_out = ("\n".join([lines[0], *part]).encode() for part in (lines[1:300], lines[300:]))
    spec = api.spec(api.upload(training)["id"], loss="mse", training={"epochs": 30}, metrics=["rmse"])
    spec["data"] |= {"target_preprocessing": "standardize", "split": {"validation": 0.3}}
    model = model_of(api, spec)
    calibration = api.client.get(f"/v1/models/{model}").json()["calibration"]
    assert calibration["noise_precision"] > 0 and calibration["temperature"] is None
    assert calibration["before"]["coverage"] < 0.6 < 0.8 < calibration["after"]["coverage"]
    dataset = api.upload(held_out)["id"]
    found = api.client.post(f"/v1/models/{model}/evaluate", json={"dataset": dataset}).json()
    assert found["metrics"]["coverage"] == pytest.approx(0.9, abs=0.1)
    assert found["metrics"]["conformal"]["coverage"] == pytest.approx(0.9, abs=0.1)
    assert found["metrics"]["rmse"] < 75 and found["note"] is None
    bare = api.client.post(f"/v1/models/{model}/evaluate", json={"dataset": dataset, "calibrated": False}).json()
    assert bare["metrics"]["coverage"] < found["metrics"]["coverage"] and bare["metrics"]["conformal"] is None


def test_too_many_rows_are_too_large(settings: Any, serving: Any, wine_csv: bytes) -> None:
    with serving(settings.model_copy(update={"max_evaluate_rows": 100})) as api:
        dataset = api.upload(wine_csv)["id"]
        model = model_of(api, api.spec(dataset))
        for path in ("evaluate", "importance"):
            answer = api.client.post(f"/v1/models/{model}/{path}", json={"dataset": dataset})
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
