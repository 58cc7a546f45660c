"""Predict requests over real HTTP: many at once, too many at once, and answers in bytes."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load

from service.settings import Settings

CLOSE = {"rtol": 1e-4, "atol": 1e-6}
OCTETS = {"Accept": "application/octet-stream"}


def train(api: Any, data: bytes, **more: Any) -> str:
    job = api.submit(api.spec(api.upload(data)["id"], **more))["id"]
    api.work(only=job)
    return str(api.client.get(f"/v1/jobs/{job}").json()["model"])


@pytest.fixture(scope="module")
def flowers(sqlite_api: Any, iris_csv: bytes) -> tuple[Any, str]:
    return sqlite_api, train(sqlite_api, iris_csv)


def rows_of(count: int, seed: int) -> list[list[float]]:
    return np.random.default_rng(seed).normal(4, 2, (count, 4)).tolist()


def numbers(answer: Any) -> Any:
    return [[*row["probabilities"].values(), row["mutual_information"]] for row in answer["predictions"]]


def test_many_at_once_get_what_each_would_get_alone(flowers: tuple[Any, str]) -> None:
    api, model = flowers
    url = f"/v1/models/{model}/predict"
    bodies = [{"rows": rows_of(1 + i % 4, i), "seed": i % 3, "mc_samples": 10 + 10 * (i % 2)} for i in range(60)]
    alone = [api.client.post(url, json=body).json() for body in bodies]
    with httpx.Client(base_url=api.client.base_url) as client, ThreadPoolExecutor(16) as threads:
        for _ in range(3):
            found = list(threads.map(lambda body: client.post(url, json=body), bodies))
            assert {answer.status_code for answer in found} == {200}
            for answer, expected in zip(found, alone, strict=True):
                assert answer.json()["seed"] == expected["seed"]
                np.testing.assert_allclose(numbers(answer.json()), numbers(expected), **CLOSE)


def test_one_among_many_that_is_wrong_is_refused_alone(flowers: tuple[Any, str]) -> None:
    api, model = flowers
    good, bad = {"rows": [[5.1, 3.5, 1.4, 0.2]]}, {"rows": [[5.1, "x", 1.4, 0.2]]}
    with ThreadPoolExecutor(16) as threads:
        found = threads.map(
            lambda body: api.client.post(f"/v1/models/{model}/predict", json=body).status_code, [good, good, bad] * 20
        )
    assert list(found) == [200, 200, 422] * 20


class Stalled:
    """Requests that have begun and do not end: the headers and half of the body."""

    def __init__(self, api: Any, model: str, size: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", api.client.base_url.port))
        head = f"POST /v1/models/{model}/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {2 * size}\r\n\r\n"
        self.connection.sendall(head.encode() + b" " * size)

    def close(self) -> None:
        self.connection.close()


@pytest.mark.parametrize(
    ("limits", "size", "words"),
    [
        ({"max_predictions": 3}, 10, "3 predictions are in progress"),
        ({"max_predictions_bytes": 10_000}, 3_330, "fill the memory"),
    ],
)
def test_what_is_too_much_at_once_is_turned_away_at_once(
    settings: Settings, serving: Any, iris_csv: bytes, limits: dict[str, int], size: int, words: str
) -> None:
    with serving(settings.model_copy(update=limits)) as api:
        model = train(api, iris_csv)
        body = {"rows": [[5.1, 3.5, 1.4, 0.2]]}
        assert api.client.post(f"/v1/models/{model}/predict", json=body).status_code == 200
        stalled = [Stalled(api, model, size) for _ in range(3)]
        try:
            deadline = time.monotonic() + 20
            while (answer := api.client.post(f"/v1/models/{model}/predict", json=body)).status_code == 200:
                assert time.monotonic() < deadline, "three requests are held, and a fourth is let in"
                time.sleep(0.5)
                stalled.append(Stalled(api, model, size))  # one may have found this very request in its place
            assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
            assert words in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) > 0
            inference = api.client.post(f"/v2/models/{model}/infer", json={"inputs": ["x" * 100]})
            assert inference.status_code == 503 and words in inference.json()["error"]
            assert api.client.get("/healthz").status_code == 200
        finally:
            for one in stalled:
                one.close()
        while api.client.post(f"/v1/models/{model}/predict", json=body).status_code != 200:
            assert time.monotonic() < deadline + 20, "they have gone, and their places are not free"


def test_a_long_prediction_holds_up_nobody(flowers: tuple[Any, str]) -> None:
    """While one asks for much, small requests and everything else are answered."""
    api, model = flowers
    url, done = f"/v1/models/{model}/predict", threading.Event()
    statuses = []

    def long() -> None:
        statuses.append(api.client.post(url, json={"rows": rows_of(20_000, 0), "mc_samples": 500}).status_code)
        done.set()

    thread = threading.Thread(target=long)
    start = time.monotonic()
    thread.start()
    waits = []
    while not done.is_set():
        for call in (lambda: api.client.post(url, json={"rows": rows_of(1, 1)}), lambda: api.client.get("/healthz")):
            begin = time.monotonic()
            assert call().status_code == 200
            waits.append(time.monotonic() - begin)
    thread.join()
    taken = time.monotonic() - start
    assert statuses == [200]
    assert len(waits) > 4 and sorted(waits)[len(waits) // 2] < taken / 4


def test_samples_come_as_bytes(flowers: tuple[Any, str]) -> None:
    api, model = flowers
    body = {"rows": rows_of(3, 5), "mc_samples": 9, "seed": 2, "return_samples": True}
    expected = api.client.post(f"/v1/models/{model}/predict", json=body).json()
    answer = api.client.post(f"/v1/models/{model}/predict", json=body, headers=OCTETS)
    assert answer.headers["content-type"] == "application/octet-stream"
    tensors = load(answer.content)
    assert tensors["samples"].shape == (3, 9, 3) and tensors["samples"].dtype == np.float32
    np.testing.assert_allclose(tensors["samples"], [row["samples"] for row in expected["predictions"]], **CLOSE)
    np.testing.assert_allclose(
        tensors["probabilities"], [list(row["probabilities"].values()) for row in expected["predictions"]], **CLOSE
    )
    about = metadata(answer.content)
    assert about["label"] == [row["label"] for row in expected["predictions"]]
    assert about["names"]["probabilities"] == ["setosa", "versicolor", "virginica"]
    assert (about["mc_samples"], about["seed"], about["note"]) == (9, 2, None)
    assert about["stochastic_layers"] == ["dropout_1"]
    assert api.client.post(f"/v1/models/{model}/predict", json=body, headers=OCTETS).content == answer.content


def test_values_come_as_bytes_of_their_own_precision(sqlite_api: Any, diabetes_csv: bytes) -> None:
    model = train(sqlite_api, diabetes_csv, loss="mse", metrics=[])
    body = {"rows": [[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86, 87]], "mc_samples": 5, "return_samples": True}
    expected = sqlite_api.client.post(f"/v1/models/{model}/predict", json=body).json()["predictions"][0]
    tensors = load(sqlite_api.client.post(f"/v1/models/{model}/predict", json=body, headers=OCTETS).content)
    assert tensors["samples"].dtype == np.float64
    np.testing.assert_allclose(tensors["samples"], [expected["samples"]], rtol=1e-6)
    np.testing.assert_allclose(tensors["quantiles"], [list(expected["quantiles"].values())], rtol=1e-6)


def test_bytes_are_for_those_who_ask_for_them_alone(flowers: tuple[Any, str]) -> None:
    api, model = flowers
    url, body = f"/v1/models/{model}/predict", {"rows": rows_of(1, 1)}
    for accept in ("*/*", "application/json", "application/json, application/octet-stream", "text/plain"):
        assert api.client.post(url, json=body, headers={"Accept": accept}).headers["content-type"] == "application/json"
    refused = api.client.post(url, json={"rows": []}, headers=OCTETS)
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")


def metadata(content: bytes) -> dict[str, Any]:
    """What the metadata of a safetensors file say of the answer."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    found: dict[str, Any] = json.loads(header["__metadata__"]["answer"])
    return found
