import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.store import idempotency
from service.store.engine import open_store

CSV = {"Content-Type": "text/csv"}


def test_a_repeated_job_is_answered_again_and_queued_once(both: Any, iris_csv: bytes) -> None:
    spec = both.spec(both.upload(iris_csv)["id"])
    headers = {"Idempotency-Key": f"{spec['data']['dataset']}-1"}
    first = both.client.post("/v1/jobs", json=spec, headers=headers)
    before = len(both.client.get("/v1/jobs?limit=1000").json()["data"])
    again = both.client.post("/v1/jobs", json=spec, headers=headers)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(both.client.get("/v1/jobs?limit=1000").json()["data"]) == before


def test_the_answer_outlives_what_it_speaks_of(both: Any, iris_csv: bytes) -> None:
    dataset = both.upload(iris_csv)["id"]
    headers = {"Idempotency-Key": f"{dataset}-2"}
    first = both.client.post("/v1/jobs", json=both.spec(dataset), headers=headers)
    both.client.post(f"/v1/jobs/{first.json()['id']}/cancel")
    both.client.delete(f"/v1/jobs/{first.json()['id']}")
    both.client.delete(f"/v1/datasets/{dataset}")
    assert both.client.post("/v1/jobs", json=both.spec(dataset), headers=headers).content == first.content


def test_the_same_key_with_another_request_is_refused(both: Any, iris_csv: bytes) -> None:
    spec = both.spec(both.upload(iris_csv)["id"])
    headers = {"Idempotency-Key": f"{spec['data']['dataset']}-3"}
    assert both.client.post("/v1/jobs", json=spec, headers=headers).status_code == 202
    for url, body in (("/v1/jobs", {**spec, "name": "other"}), ("/v1/jobs?reuse=true", spec)):
        answer = both.client.post(url, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


def test_a_key_of_one_resource_is_free_for_another(api: Any, iris_csv: bytes) -> None:
    dataset = api.upload(iris_csv)["id"]
    headers = {"Idempotency-Key": f"{dataset}-4"}
    assert api.client.post("/v1/jobs", json=api.spec(dataset), headers=headers).status_code == 202
    assert api.client.post("/v1/datasets", content=iris_csv, headers={**headers, **CSV}).status_code == 201


def test_a_refused_request_frees_its_key(both: Any, iris_csv: bytes) -> None:
    spec = both.spec(both.upload(iris_csv)["id"])
    headers = {"Idempotency-Key": f"{spec['data']['dataset']}-5"}
    assert both.client.post("/v1/jobs", json={**spec, "loss": "huh"}, headers=headers).status_code == 422
    assert both.client.post("/v1/jobs", json=spec, headers=headers).status_code == 202


def test_a_repeated_upload_is_answered_again_as_a_form_too(both: Any, iris_csv: bytes) -> None:
    headers = {"Idempotency-Key": "upload-1"}
    first = both.client.post("/v1/datasets", content=iris_csv, headers={**headers, **CSV})
    again = both.client.post("/v1/datasets", files={"file": ("iris.csv", iris_csv, "text/csv")}, headers=headers)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    other = both.client.post("/v1/datasets", content=iris_csv[:-20], headers={**headers, **CSV})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_a_request_under_way_is_not_begun_twice(both: Any, iris_csv: bytes) -> None:
    """The first upload has been sent half when the second one comes."""
    half_sent, go_on = threading.Event(), threading.Event()

    def slowly() -> Any:
        yield iris_csv[:100]
        half_sent.set()
        go_on.wait(30)
        yield iris_csv[100:]

    headers = {**CSV, "Idempotency-Key": "upload-2"}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(both.client.post, "/v1/datasets", content=slowly(), headers=headers)
        half_sent.wait(30)
        try:
            while _unknown(both):
                pass
            second = both.client.post("/v1/datasets", content=iris_csv, headers=headers)
        finally:
            go_on.set()
        assert (second.status_code, second.json()["code"]) == (409, "request_in_flight")
        assert first.result().status_code == 201
    assert both.client.post("/v1/datasets", content=iris_csv, headers=headers).content == first.result().content


def _unknown(api: Any) -> bool:
    """True until the server has read the head of the first request."""
    uploads = api.settings.home / "uploads"
    return not list(uploads.iterdir())


def test_many_at_once_are_one(both: Any, iris_csv: bytes) -> None:
    spec = both.spec(both.upload(iris_csv)["id"])
    headers = {"Idempotency-Key": f"{spec['data']['dataset']}-6"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: both.client.post("/v1/jobs", json=spec, headers=headers), range(16)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "caf\xe9"])
def test_a_key_that_is_none_is_refused(api: Any, key: str) -> None:
    answer = api.client.post("/v1/jobs", json={}, headers={"Idempotency-Key": key.encode("latin-1")})
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json()["errors"]] == ["Idempotency-Key"]


def test_keys_are_not_stored_as_they_are(api: Any, iris_csv: bytes) -> None:
    """A key may be anything that a client has at hand; a hash of it is enough to recognise it."""
    api.client.post("/v1/datasets", content=iris_csv, headers={**CSV, "Idempotency-Key": "secret"})
    store = open_store(api.settings.effective_database_url)
    with store.begin() as session:
        assert idempotency.begin(session, "secret", None) is None
    store.dispose()
