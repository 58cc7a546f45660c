import hashlib
from typing import Any

import pytest
import safetensors.torch
from sqlalchemy import update

from service.store.engine import open_store
from service.store.tables import Chunk


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def trained(request: pytest.FixtureRequest, wine_csv: bytes) -> tuple[Any, dict[str, Any]]:
    """A server and a model of the wines, once on each database."""
    api = request.getfixturevalue(f"{request.param}_api")
    spec = api.spec(api.upload(wine_csv)["id"], training={"epochs": 20})
    job = api.submit(spec)["id"]
    api.work(only=job)
    done = api.client.get(f"/v1/jobs/{job}").json()
    assert done["status"] == "succeeded", done["error"]
    return api, api.client.get(f"/v1/models/{done['model']}").json()


def row(wine_csv: bytes) -> list[float]:
    """The first wine."""
    return [float(value) for value in wine_csv.splitlines()[1].split(b",")[:-1]]


def test_a_model_tells_what_it_is(trained: Any, wine_csv: bytes) -> None:
    api, model = trained
    job = api.client.get(f"/v1/jobs/{model['job']}").json()
    assert (model["object"], model["name"], model["task"]) == ("model", "small", "classification")
    assert model["classes"] == ["class_0", "class_1", "class_2"]
    assert (len(model["columns"]), model["targets"]) == (13, ["target"])
    assert model["weights_sha256"] == job["receipt"]["weights_sha256"]
    assert model["spec"] == job["spec"]
    assert model["parameters"] == 13 * 8 + 8 + 8 * 3 + 3
    calibration = model["calibration"]
    assert (calibration["rows"], calibration["mc_samples"], calibration["level"]) == (36, 50, 0.9)
    assert calibration["temperature"] > 0 and calibration["noise_precision"] is None
    assert calibration["after"]["nll"] <= calibration["before"]["nll"]
    assert set(calibration["after"]) == {"nll", "brier", "ece", "coverage", "sharpness", "conformal"}
    assert "conformal" not in calibration
    listed = api.client.get("/v1/models?limit=1000").json()
    assert model["id"] in [item["id"] for item in listed["data"]]


def test_predictions_say_how_sure_they_are(trained: Any, wine_csv: bytes) -> None:
    api, model = trained
    names = [name.decode() for name in wine_csv.splitlines()[0].split(b",")[:-1]]
    values = row(wine_csv)
    body = {"rows": [values, dict(zip(names, values, strict=True))], "mc_samples": 20, "seed": 3}
    answer = api.client.post(f"/v1/models/{model['id']}/predict", json=body)
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["predictions"]
    # Some processors multiply the rows at the end of a matrix in another order than those before.
    for name in ("probabilities", "probabilities_std", "predictive_entropy"):
        assert first[name] == pytest.approx(second[name], rel=1e-5)
    assert first["label"] == second["label"]
    assert first["label"] in model["classes"]
    assert sum(first["probabilities"].values()) == pytest.approx(1)
    assert first["mutual_information"] >= 0
    assert (answer.json()["mc_samples"], answer.json()["seed"]) == (20, 3)
    assert answer.json()["stochastic_layers"]
    assert api.client.post(f"/v1/models/{model['id']}/predict", json=body).content == answer.content


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [
        ({}, 422, "invalid_input", "rows"),
        ({"rows": []}, 422, "invalid_input", "rows"),
        ({"rows": [[1]]}, 422, "invalid_rows", "rows[0]"),
        ({"rows": [{"alcohol": "much"}]}, 422, "invalid_rows", "rows[0]"),
        ({"rows": [3]}, 422, "invalid_input", "rows[0]"),
        ({"rows": [[0] * 13], "mc_samples": -1}, 422, "invalid_input", "mc_samples"),
        ({"rows": [[0] * 13], "mc_samples": 10**30}, 422, "invalid_input", "mc_samples"),
        ({"rows": [[0] * 13], "sample": 1}, 422, "invalid_input", "sample"),
        ({"rows": [[0] * 13], "quantiles": [2]}, 422, "invalid_input", "quantiles[0]"),
        ([], 422, "invalid_input", ""),
    ],
)
def test_rows_that_cannot_be_predicted_are_refused(trained: Any, body: Any, status: int, code: str, path: str) -> None:
    api, model = trained
    answer = api.client.post(f"/v1/models/{model['id']}/predict", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["errors"][0]["path"].startswith(path)


def test_predicting_does_not_need_a_body_to_be_refused(trained: Any) -> None:
    api, model = trained
    assert api.client.post(f"/v1/models/{model['id']}/predict").status_code == 400
    assert api.client.post(f"/v1/models/mdl_{'0' * 26}/predict", json={"rows": [[1]]}).status_code == 404


def test_weights_can_be_downloaded(trained: Any) -> None:
    api, model = trained
    answer = api.client.get(f"/v1/models/{model['id']}/weights")
    assert hashlib.sha256(answer.content).hexdigest() == model["weights_sha256"]
    assert len(answer.content) == model["size"] == int(answer.headers["content-length"])
    assert sum(tensor.numel() for tensor in safetensors.torch.load(answer.content).values()) == model["parameters"]


def test_a_deleted_model_is_gone_and_its_job_stays(own: Any, iris_csv: bytes) -> None:
    job = own.submit(own.spec(own.upload(iris_csv)["id"]))["id"]
    own.work()
    model = own.client.get(f"/v1/jobs/{job}").json()["model"]
    body = {"rows": [[5.1, 3.5, 1.4, 0.2]]}
    assert own.client.post(f"/v1/models/{model}/predict", json=body).status_code == 200
    assert own.client.delete(f"/v1/models/{model}").status_code == 204
    for method, path in (("GET", ""), ("GET", "/weights"), ("DELETE", ""), ("POST", "/predict")):
        assert own.client.request(method, f"/v1/models/{model}{path}", json=body).status_code == 404
    assert own.client.get(f"/v1/jobs/{job}").json()["model"] is None


def test_rotten_weights_are_never_answered(own: Any, iris_csv: bytes) -> None:
    job = own.submit(own.spec(own.upload(iris_csv)["id"]))["id"]
    own.work()
    model = own.client.get(f"/v1/models/{own.client.get(f'/v1/jobs/{job}').json()['model']}").json()
    store = open_store(own.settings.effective_database_url)
    with store.begin() as session:
        rotten = update(Chunk).where(Chunk.sha256 == model["weights_sha256"]).values(data=b"rotten")
        session.execute(rotten)
    store.dispose()
    body = {"rows": [[5.1, 3.5, 1.4, 0.2]]}
    for answer in (
        own.client.get(f"/v1/models/{model['id']}/weights"),
        own.client.post(f"/v1/models/{model['id']}/predict", json=body),
    ):
        assert (answer.status_code, answer.json()["code"]) == (500, "corrupt_blob")
