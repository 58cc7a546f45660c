"""Jobs with replicas over HTTP: what is accepted, what is refused, their curves and their models."""

from typing import Any

import pytest

REPLICAS = 3


@pytest.fixture(scope="module")
def done(sqlite_api: Any, iris_csv: bytes) -> dict[str, Any]:
    """A job with replicas that has been trained, and its model."""
    spec = sqlite_api.spec(sqlite_api.upload(iris_csv)["id"], replicas=REPLICAS, training={"epochs": 3, "seed": 5})
    job = sqlite_api.submit(spec)
    sqlite_api.work(only=job["id"])
    found: dict[str, Any] = sqlite_api.client.get(f"/v1/jobs/{job['id']}").json()
    assert found["status"] == "succeeded", found["error"]
    return found


def test_one_replica_is_a_job_as_it_was(api: Any, iris_csv: bytes) -> None:
    dataset = api.upload(iris_csv)["id"]
    plain, one, three = (api.submit(api.spec(dataset, **more)) for more in ({}, {"replicas": 1}, {"replicas": 3}))
    assert plain["spec_sha256"] == one["spec_sha256"] != three["spec_sha256"]
    assert "replicas" not in one["spec"] and three["spec"]["replicas"] == 3


@pytest.mark.parametrize("replicas", [0, 257, 1.5, "3", None])
def test_a_number_that_cannot_be_is_refused_by_its_path(replicas: Any, api: Any, iris_csv: bytes) -> None:
    spec = api.spec(api.upload(iris_csv)["id"], replicas=replicas)
    answer = api.client.post("/v1/jobs", json=spec)
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json()["errors"]] == ["replicas"]


def test_seeds_must_be_left_for_all(api: Any, iris_csv: bytes) -> None:
    spec = api.spec(api.upload(iris_csv)["id"], replicas=2, training={"seed": 2**63 - 1})
    answer = api.client.post("/v1/jobs", json=spec)
    assert answer.status_code == 422 and "seed" in answer.text


def test_validation_counts_the_memory_of_all(api: Any, iris_csv: bytes) -> None:
    dataset = api.upload(iris_csv)["id"]
    one, many = (
        api.client.post("/v1/networks/validate", json=api.spec(dataset, replicas=count)).json() for count in (1, 64)
    )
    assert (one["replicas"], many["replicas"]) == (1, 64)
    assert many["memory"]["weights_bytes"] == 64 * one["memory"]["weights_bytes"]
    assert many["memory"]["training_bytes"] > 32 * one["memory"]["training_bytes"]


def test_curves_are_means_unless_a_replica_is_asked_for(sqlite_api: Any, done: dict[str, Any]) -> None:
    url = f"/v1/jobs/{done['id']}/metrics"
    asked = {"name": "loss", "split": "validation"}
    means = sqlite_api.client.get(url, params=asked).json()["data"]
    each = [sqlite_api.client.get(url, params={**asked, "replica": k}).json()["data"] for k in range(REPLICAS)]
    assert [m["epoch"] for m in means] == [1, 2, 3] and all(m["replica"] is None for m in means)
    for mean, *own in zip(means, *each, strict=True):
        values = [m["value"] for m in own]
        assert (mean["low"], mean["high"]) == (min(values), max(values))
        assert mean["value"] == pytest.approx(sum(values) / REPLICAS)
        assert [m["replica"] for m in own] == list(range(REPLICAS))
    refused = sqlite_api.client.get(url, params={"replica": REPLICAS})
    assert refused.status_code == 422 and refused.json()["errors"][0]["path"].endswith("replica")


def test_its_model_is_an_ensemble(sqlite_api: Any, done: dict[str, Any]) -> None:
    model = sqlite_api.client.get(f"/v1/models/{done['model']}").json()
    assert model["members"] == REPLICAS
    assert [member["seed"] for member in model["receipt"]["replicas"]] == [5, 6, 7]
    row = [5.1, 3.5, 1.4, 0.2]
    asked = {"rows": [row], "mc_samples": 4, "return_samples": True}
    answer = sqlite_api.client.post(f"/v1/models/{done['model']}/predict", json=asked).json()
    assert answer["members"] == REPLICAS and len(answer["predictions"][0]["samples"]) == 4 * REPLICAS
    described = sqlite_api.client.get(f"/v2/models/{done['model']}").json()
    assert described["outputs"]


def test_it_is_neither_extended_nor_a_source(sqlite_api: Any, done: dict[str, Any]) -> None:
    answer = sqlite_api.client.post(f"/v1/jobs/{done['id']}/extend", json={"epochs": 2})
    assert answer.status_code == 409 and "replicas" in answer.json()["detail"]
    layers = [{"type": "pretrained", "source": done["model"]}, {"type": "dense", "units": "auto"}]
    spec = sqlite_api.spec(done["dataset"], network={"layers": layers})
    refused = sqlite_api.client.post("/v1/jobs", json=spec)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["path"] == "network.layers[0].source"
