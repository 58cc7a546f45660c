"""Jobs with replicas over HTTP: what is accepted, what is refused, their curves and their models."""

import json
from typing import Any

import pytest
import safetensors.torch

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
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert (problem["path"], problem["allowed"]) == ("training.seed", {"le": 2**63 - 2})


@pytest.mark.parametrize(
    ("training", "path"), [({"devices": 2}, "training.devices"), ({"compile": True}, "training.compile")]
)
def test_what_is_for_one_network_is_refused(training: dict[str, Any], path: str, api: Any, iris_csv: bytes) -> None:
    answer = api.client.post("/v1/jobs", json=api.spec(api.upload(iris_csv)["id"], replicas=2, training=training))
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json()["errors"]] == [path]


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


def test_it_goes_out_and_comes_in_whole_and_no_other_format_holds_it(sqlite_api: Any, done: dict[str, Any]) -> None:
    path = f"/v1/models/{done['model']}"
    file = sqlite_api.client.get(f"{path}/export")
    assert file.status_code == 200
    binary = {"Content-Type": "application/octet-stream"}
    again = sqlite_api.client.post("/v1/models", content=file.content, headers=binary)
    assert again.status_code == 201, again.text
    assert again.json()["members"] == REPLICAS
    asked = {"rows": [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 4.0, 1.3]], "mc_samples": 3, "seed": 1}
    first, second = (
        sqlite_api.client.post(f"/v1/models/{model}/predict", json=asked).json()
        for model in (done["model"], again.json()["id"])
    )
    assert first == second
    for format in ("onnx", "torch"):
        refused = sqlite_api.client.get(f"{path}/export?format={format}")
        assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "format")
        assert "ensemble of 3" in refused.json()["errors"][0]["message"]
    card = sqlite_api.client.get(f"{path}/card")
    assert card.json()["network"]["members"] == REPLICAS
    page = sqlite_api.client.get(f"{path}/card?format=markdown").text
    assert "3 networks that answer together" in page


@pytest.mark.parametrize("members", [None, 1, 2, 4, 0])
def test_a_file_whose_members_are_not_those_of_its_weights_is_refused(
    members: int | None, sqlite_api: Any, done: dict[str, Any]
) -> None:
    file = sqlite_api.client.get(f"/v1/models/{done['model']}/export").content
    about = {"trainyard": json.dumps({**json.loads(_metadata(file)), "members": members})}
    changed = safetensors.torch.save(safetensors.torch.load(file), about)
    answer = sqlite_api.client.post("/v1/models", content=changed, headers={"Content-Type": "application/octet-stream"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_model"), answer.text


def _metadata(file: bytes) -> str:
    length = int.from_bytes(file[:8], "little")
    return str(json.loads(file[8 : 8 + length])["__metadata__"]["trainyard"])
