"""Aliases over HTTP: a name in the place of an id, and what it leads to while it is moved."""

import threading
from typing import Any

import pytest

BODY = {"rows": [[5.1, 3.5, 1.4, 0.2]], "mc_samples": 0}


def train(api: Any, dataset: str, name: str | None, seed: int) -> dict[str, Any]:
    job = api.submit(api.spec(dataset, name=name, training={"epochs": 1, "seed": seed}))["id"]
    api.work(only=job)
    model = api.client.get(f"/v1/jobs/{job}").json()["model"]
    found: dict[str, Any] = api.client.get(f"/v1/models/{model}").json()
    return found


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def pair(request: pytest.FixtureRequest, iris_csv: bytes) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A server and two models of one name, once on each database."""
    api = request.getfixturevalue(f"{request.param}_api")
    dataset = api.upload(iris_csv)["id"]
    return api, train(api, dataset, "iris", 1), train(api, dataset, "iris", 2)


def put(api: Any, model: dict[str, Any], alias: str) -> Any:
    return api.client.put(f"/v1/models/{model['id']}/aliases/{alias}")


def test_an_alias_stands_wherever_an_id_may(pair: Any) -> None:
    api, first, second = pair
    answer = put(api, first, "production")
    assert (answer.status_code, answer.json()["object"]) == (200, "alias")
    assert (answer.json()["name"], answer.json()["model"]) == ("iris@production", first["id"])
    for model in (first, second):
        assert put(api, model, "iris@production").json()["model"] == model["id"]
        assert api.client.get("/v1/models/iris@production").json() == model
        weights = api.client.get("/v1/models/iris%40production/weights")
        assert weights.headers["etag"] == f'"{model["weights_sha256"]}"'
        predicted = api.client.post("/v1/models/iris@production/predict", json=BODY)
        assert predicted.content == api.client.post(f"/v1/models/{model['id']}/predict", json=BODY).content
    # What one alias leads to can be given another.
    assert put(api, {"id": "iris@production"}, "iris@stable").json()["model"] == second["id"]
    assert [item["name"] for item in api.client.get(f"/v1/models/{first['id']}/aliases").json()["data"]] == []
    listed = api.client.get("/v1/models/iris@stable/aliases").json()["data"]
    assert [item["name"] for item in listed] == ["iris@production", "iris@stable"]
    everything = api.client.get("/v1/aliases?limit=1").json()
    assert everything["has_more"] and len(everything["data"]) == 1
    more = api.client.get("/v1/aliases", params={"after": everything["data"][0]["name"]}).json()["data"]
    assert everything["data"][0]["name"] not in [item["name"] for item in more]


def test_a_model_with_an_alias_is_kept_until_it_has_none(pair: Any, iris_csv: bytes) -> None:
    api = pair[0]
    model = train(api, api.upload(iris_csv)["id"], "short lived", 3)
    assert put(api, model, "now").json()["name"] == "short lived@now"
    refused = api.client.delete(f"/v1/models/{model['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert "short lived@now" in refused.json()["detail"]
    assert api.client.delete(f"/v1/models/{pair[1]['id']}/aliases/short%20lived@now").status_code == 404
    assert api.client.delete(f"/v1/models/{model['id']}/aliases/now").status_code == 204
    assert api.client.delete(f"/v1/models/{model['id']}").status_code == 204
    assert api.client.get("/v1/models/short%20lived@now").status_code == 404


def test_an_alias_that_cannot_be_is_refused(pair: Any, iris_csv: bytes) -> None:
    api, first, _ = pair
    nameless = train(api, api.upload(iris_csv)["id"], None, 4)
    refused = put(api, nameless, "production")
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "alias")
    assert refused.json()["errors"][0]["allowed"] == "NAME@ALIAS"
    assert put(api, nameless, "whole@name").status_code == 200
    assert put(api, {"id": "mdl_" + "0" * 26}, "a@b").status_code == 404
    for alias in ("a@b@c", "@", "a@", "a%0Ab", "x" * 65):
        assert put(api, first, alias).status_code == 404, alias
    for path in ("", "/weights", "/aliases"):
        assert api.client.get(f"/v1/models/no@body{path}").status_code == 404
    assert api.client.post("/v1/models/no@body/predict", json=BODY).status_code == 404


def test_a_switch_is_seen_at_once_and_never_leaves_a_gap(pair: Any) -> None:
    """While the alias goes to and fro, every prediction is one of the two models', and the last word holds."""
    api, *models = pair
    expected = [api.client.post(f"/v1/models/{model['id']}/predict", json=BODY).content for model in models]
    put(api, models[0], "iris@switched")
    answers: list[tuple[int, bytes]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answer = api.client.post("/v1/models/iris@switched/predict", json=BODY)
            answers.append((answer.status_code, answer.content))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(20):
            assert put(api, models[turn % 2], "iris@switched").status_code == 200
            now = api.client.post("/v1/models/iris@switched/predict", json=BODY).json()["predictions"][0]
            before = api.client.post(f"/v1/models/{models[turn % 2]['id']}/predict", json=BODY).json()
            assert now["probabilities"] == pytest.approx(before["predictions"][0]["probabilities"], rel=1e-5)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    assert len(expected) == len(set(expected)) == 2
