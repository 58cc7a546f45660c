"""Predictions that are made later, over real HTTP, on both databases; the predictor's own code makes them."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import polars as pl
import pytest

from service.settings import Settings
from service.store import prediction_attempts
from service.store.engine import open_store
from worker.predicting.attempt import run_attempt

PARQUET, CSV, LINES = "application/vnd.apache.parquet", "text/csv", "application/x-ndjson"
JSON = dict[str, Any]


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[str, str]]:
    """The model and the data set of each server that has been asked for one."""
    return {}


@pytest.fixture
def trained(models: dict[str, tuple[str, str]], iris_csv: bytes) -> Callable[[Any], tuple[str, str]]:
    """Give the model of a server, trained on flowers, and its data set."""

    def of(api: Any) -> tuple[str, str]:
        url = str(api.client.base_url)
        if url not in models:
            dataset = api.upload(iris_csv)["id"]
            job = api.submit(api.spec(dataset))["id"]
            api.work(only=job)
            models[url] = (api.client.get(f"/v1/jobs/{job}").json()["model"], dataset)
        return models[url]

    return of


def work(api: Any) -> None:
    """Make the queued predictions here and now."""
    store = open_store(api.settings.effective_database_url)
    while True:
        with store.begin() as session:
            row = prediction_attempts.claim(session, "test", 30)
        if row is None:
            break
        run_attempt(store, api.settings, row)
    store.dispose()


def accepted(answer: httpx.Response) -> JSON:
    assert answer.status_code == 202, answer.text
    row: JSON = answer.json()
    assert answer.headers["location"] == f"/v1/predictions/{row['id']}"
    assert row["id"].startswith("prd_") and (row["object"], row["status"]) == ("prediction", "queued")
    return row


def result(api: Any, row: JSON, format: str = "ndjson") -> httpx.Response:
    answer: httpx.Response = api.client.get(f"/v1/predictions/{row['id']}/result", params={"format": format})
    assert answer.status_code == 200, answer.text
    return answer


def test_a_data_set_is_predicted_as_its_rows_are(both: Any, trained: Any, iris_csv: bytes) -> None:
    model, dataset = trained(both)
    body = {"dataset": dataset, "mc_samples": 20, "seed": 3, "async": True}
    row = accepted(both.client.post(f"/v1/models/{model}/predictions", json=body))
    assert (row["dataset"], row["model"], row["result"], row["error"]) == (dataset, model, None, None)
    assert row["options"]["mc_samples"] == 20 and row["options"]["quantiles"] == [0.05, 0.95]
    assert row["progress"] == {
        "rows": 150, "rows_done": 0, "fraction": 0.0, "rows_per_second": None, "eta_seconds": None,
    }  # fmt: skip
    work(both)
    row = both.client.get(f"/v1/predictions/{row['id']}").json()
    assert (row["status"], row["attempt"], row["progress"]["fraction"]) == ("succeeded", 1, 1.0)
    assert row["result"]["stochastic_layers"] == ["dropout_1"] and row["result"]["rows"] == 150
    found = [json.loads(line) for line in result(both, row).text.splitlines()]
    headers = {"Content-Type": CSV, "Accept": LINES}
    streamed = both.client.post(
        f"/v1/models/{model}/predict?mc_samples=20&seed=3", content=iris_csv, headers=headers
    ).text.splitlines()
    assert [one["label"] for one in found] == [json.loads(line)["label"] for line in streamed]
    assert list(found[0]) == list(json.loads(streamed[0]))
    answer = result(both, row, "parquet")
    assert (answer.headers["content-type"], answer.headers["etag"]) == (PARQUET, f'"{row["result"]["sha256"]}"')
    assert len(answer.content) == row["result"]["size"]
    assert pl.read_parquet(answer.content).to_dicts() == found
    table = list(csv.DictReader(io.StringIO(result(both, row, "csv").text)))
    assert [float(line["probabilities.setosa"]) for line in table] == [one["probabilities"]["setosa"] for one in found]


@pytest.mark.parametrize("path", ["predictions", "predict?async=true"])
def test_an_upload_is_stored_and_predicted(both: Any, trained: Any, iris_csv: bytes, path: str) -> None:
    model, _ = trained(both)
    url = f"/v1/models/{model}/{path}{'&' if '?' in path else '?'}seed=7&mc_samples=5"
    row = accepted(both.client.post(url, content=iris_csv, headers={"Content-Type": CSV}))
    assert row["dataset"] is None and row["progress"]["rows"] == 150
    work(both)
    row = both.client.get(f"/v1/predictions/{row['id']}").json()
    assert (row["status"], row["result"]["seed"], row["result"]["mc_samples"]) == ("succeeded", 7, 5)
    assert len(result(both, row).text.splitlines()) == 150


def test_a_regression_without_quantiles_comes_back_as_it_would_be_answered(api: Any, diabetes_csv: bytes) -> None:
    dataset = api.upload(diabetes_csv)["id"]
    job = api.submit(api.spec(dataset, loss="mse", metrics=["mae"]))["id"]
    api.work(only=job)
    model = api.client.get(f"/v1/jobs/{job}").json()["model"]
    row = accepted(api.client.post(f"/v1/models/{model}/predictions", json={"dataset": dataset, "quantiles": []}))
    work(api)
    first = json.loads(result(api, row).text.splitlines()[0])
    assert list(first) == ["mean", "std", "epistemic_std", "aleatoric_std", "quantiles"] and first["quantiles"] == {}
    assert result(api, row, "csv").text.splitlines()[0] == "mean,std,epistemic_std,aleatoric_std"


def test_the_same_key_is_the_same_prediction(both: Any, trained: Any, iris_csv: bytes) -> None:
    model, dataset = trained(both)
    url, key = f"/v1/models/{model}/predictions", {"Idempotency-Key": "again"}
    first = accepted(both.client.post(url, json={"dataset": dataset}, headers=key))
    again = both.client.post(url, json={"dataset": dataset}, headers=key)
    assert accepted(again)["id"] == first["id"] and again.headers["idempotency-replayed"] == "true"
    assert both.client.post(url, json={"dataset": dataset, "seed": 1}, headers=key).status_code == 422
    file = {"Idempotency-Key": "file", "Content-Type": CSV}
    first = accepted(both.client.post(url, content=iris_csv, headers=file))
    assert accepted(both.client.post(url, content=iris_csv, headers=file))["id"] == first["id"]
    work(both)


def test_one_that_waits_or_runs_is_cancelled_and_deleted(both: Any, trained: Any) -> None:
    model, dataset = trained(both)
    rows = [accepted(both.client.post(f"/v1/models/{model}/predictions", json={"dataset": dataset})) for _ in range(2)]
    store = open_store(both.settings.effective_database_url)
    with store.begin() as session:
        assert prediction_attempts.claim(session, "test", 30).id == rows[0]["id"]  # type: ignore[union-attr]
    store.dispose()
    running, waiting = (f"/v1/predictions/{row['id']}" for row in rows)
    answer = both.client.delete(running)
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert both.client.delete(f"/v1/models/{model}").json()["code"] == "in_use"
    answer = both.client.get(f"{running}/result")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    for url in (running, running, waiting):
        assert both.client.post(f"{url}/cancel").json()["status"] == "cancelled"
        assert both.client.get(url).json()["finished_at"]
    for url in (running, waiting):
        assert both.client.delete(url).status_code == 204
        for method in ("GET", "DELETE"):
            assert both.client.request(method, url).status_code == 404
        assert both.client.post(f"{url}/cancel").status_code == 404


def test_lists(both: Any, trained: Any) -> None:
    model, dataset = trained(both)
    ids = [
        accepted(both.client.post(f"/v1/models/{model}/predictions", json={"dataset": dataset}))["id"] for _ in range(3)
    ]
    page = both.client.get("/v1/predictions", params={"limit": 2, "status": "queued"}).json()
    assert [row["id"] for row in page["data"]] == ids[:0:-1] and page["has_more"]
    rest = both.client.get("/v1/predictions", params={"limit": 1, "after": ids[1], "model": model}).json()
    assert [row["id"] for row in rest["data"]] == ids[:1]
    assert both.client.get("/v1/predictions", params={"status": "done"}).status_code == 422
    for prediction_id in ids:
        both.client.post(f"/v1/predictions/{prediction_id}/cancel")


def test_what_cannot_be_predicted_is_refused_before_it_is_queued(api: Any, trained: Any, iris_csv: bytes) -> None:
    model, dataset = trained(api)
    url, other = f"/v1/models/{model}/predictions", api.upload(b"a,b\n1,2\n3,4\n")["id"]
    before = api.client.get("/v1/predictions").json()["data"][:1]
    for body, path in (
        ({"dataset": "ds_" + "0" * 26}, "dataset"),
        ({"dataset": other}, "dataset"),
        ({"dataset": dataset, "mc_samples": -1}, "mc_samples"),
        ({"dataset": dataset, "async": False}, "async"),
        ({"dataset": dataset, "rows": [[1]]}, "rows"),
        ({"dataset": dataset, "noise_precision": 1}, "noise_precision"),
        ({}, "dataset"),
    ):
        answer = api.client.post(url, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path), answer.text
    hole = iris_csv.replace(b"4.9,3.0", b"4.9,", 1)
    answer = api.client.post(url, content=hole, headers={"Content-Type": CSV})
    assert answer.json()["errors"][0]["path"] == "rows[1].sepal width (cm)"
    assert api.client.post(url, content=b"{}", headers={"Content-Type": "image/png"}).status_code == 415
    assert api.client.post(f"{url}?seed=1", json={"dataset": dataset}).status_code == 422
    assert api.client.post("/v1/models/mdl_" + "0" * 26 + "/predictions", json={"dataset": dataset}).status_code == 404
    assert api.client.get("/v1/predictions").json()["data"][:1] == before


def test_one_that_fails_names_row_and_column(api: Any, trained: Any, iris_csv: bytes) -> None:
    model, _ = trained(api)
    dataset = api.upload(iris_csv.replace(b"4.9,3.0", b"4.9,", 1))["id"]
    row = accepted(api.client.post(f"/v1/models/{model}/predictions", json={"dataset": dataset}))
    work(api)
    row = api.client.get(f"/v1/predictions/{row['id']}").json()
    assert row["status"] == "failed"
    error = row["error"]
    assert (error["code"], error["row"], error["column"]) == ("invalid_rows", 1, "sepal width (cm)")
    assert error["errors"][0]["path"] == "rows[1].sepal width (cm)"


def test_the_queue_is_bounded(settings: Settings, serving: Any, iris_csv: bytes) -> None:
    with serving(settings.model_copy(update={"max_queued_predictions": 1})) as api:
        dataset = api.upload(iris_csv)["id"]
        job = api.submit(api.spec(dataset))["id"]
        api.work()
        model = api.client.get(f"/v1/jobs/{job}").json()["model"]
        url, body = f"/v1/models/{model}/predictions", {"dataset": dataset}
        accepted(api.client.post(url, json=body))
        answer = api.client.post(url, json=body)
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full") and answer.headers["retry-after"]
