from collections.abc import Iterator
from typing import Any

import pytest

from service.settings import Settings

LIMIT = 1000
ROWS = b"a,b,c,target\n" + b"".join(b"%d,%d,3,%d\n" % (i, i % 7, i % 3) for i in range(30_000))
"""Thirty thousand rows of three numbers and three classes."""


@pytest.fixture
def small(settings: Settings, serving: Any) -> Iterator[Any]:
    """A server that accepts next to nothing."""
    with serving(settings.model_copy(update={"max_json_bytes": LIMIT, "max_upload_bytes": LIMIT})) as api:
        yield api


def pieces(size: int) -> Iterator[bytes]:
    """A body of which nobody knows the length before its end."""
    for _ in range(size // 100):
        yield b"1" * 99 + b"\n"


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/networks/validate"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_json_body_that_is_too_large_is_refused(small: Any, path: str, chunked: bool) -> None:
    body = pieces(LIMIT * 100) if chunked else b" " * LIMIT + b"{}"
    answer = small.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"
    assert "1,000 bytes" in answer.json()["detail"]
    assert small.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_that_is_too_large_is_refused(small: Any, chunked: bool) -> None:
    body = pieces(LIMIT * 100) if chunked else b"".join(pieces(LIMIT + 100))
    answer = small.client.post("/v1/datasets", content=body, headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_form_with_a_file_that_is_too_large_is_refused(small: Any) -> None:
    for size in (LIMIT + 100, LIMIT * 1000):
        answer = small.client.post("/v1/datasets", files={"file": ("a.csv", b"".join(pieces(size)), "text/csv")})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_what_fits_exactly_is_accepted(small: Any) -> None:
    body = b"".join([b"a" * 99 + b"\n", *pieces(LIMIT - 100)])
    assert len(body) == LIMIT
    assert small.client.post("/v1/datasets", content=body, headers={"Content-Type": "text/csv"}).status_code == 201


@pytest.mark.parametrize(
    ("form", "status", "path"),
    [
        (b"--x--\r\n", 422, "file"),
        (b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n--x--\r\n', 422, "other"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\n1\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\n1\r\n--x--\r\n',
            422,
            "file",
        ),
        (b"--x\r\n\r\na\n1\r\n--x--\r\n", 422, ""),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\n1\r\n', 400, None),
        (b"rubbish", 400, None),
        (b"--x\r\n" + b"A: b\r\n" * 1000, 400, None),
        (b"", 400, None),
    ],
)
def test_a_form_that_is_none_is_refused(api: Any, form: bytes, status: int, path: str | None) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = api.client.post("/v1/datasets", content=form, headers=headers)
    assert answer.status_code == status, answer.text
    assert [problem["path"] for problem in answer.json()["errors"]] == ([path] if path is not None else [])


def test_a_form_may_have_the_file_without_a_name(api: Any) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\n1\n2\r\n--x--\r\n'
    answer = api.client.post("/v1/datasets", content=form, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert (answer.status_code, answer.json()["name"], answer.json()["rows"]) == (201, "dataset", 2)


@pytest.fixture
def tight(settings: Settings, serving: Any) -> Iterator[Any]:
    """A server that lets a job take four MiB."""
    with serving(settings.model_copy(update={"max_training_bytes": 4 * 1024 * 1024})) as api:
        yield api


@pytest.mark.parametrize(
    ("layer", "training", "path"),
    [
        ({"type": "dense", "units": 256, "activation": "relu"}, {"batch_size": 10_000}, "training.batch_size"),
        ({"type": "dense", "units": 200_000}, {"batch_size": 1}, "network"),
        ({"type": "parallel", "branches": [{"type": "dense", "units": 5000}] * 50}, {}, "network"),
    ],
)
def test_what_would_not_fit_into_memory_is_refused_before_it_is_queued(
    tight: Any, layer: dict[str, Any], training: dict[str, Any], path: str
) -> None:
    spec = tight.spec(tight.upload(ROWS)["id"], training=training)
    spec["network"] = {"layers": [layer, {"type": "dense", "units": "auto"}]}
    for url in ("/v1/jobs", "/v1/networks/validate"):
        answer = tight.client.post(url, json=spec)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec"), answer.text
        (problem,) = answer.json()["errors"]
        assert problem["path"] == path and "this server allows 4.0 MiB" in problem["message"]
    assert tight.client.get("/v1/jobs").json()["data"] == []


def test_a_batch_is_no_larger_than_the_data(tight: Any, iris_csv: bytes) -> None:
    spec = tight.spec(tight.upload(iris_csv)["id"], training={"batch_size": 1_000_000})
    assert tight.client.post("/v1/jobs", json=spec).status_code == 202


def test_a_batch_as_large_as_the_answer_allows_is_taken(tight: Any) -> None:
    spec = tight.spec(tight.upload(ROWS)["id"], training={"batch_size": 100_000})
    allowed = tight.client.post("/v1/jobs", json=spec).json()["errors"][0]["allowed"]
    spec["training"]["batch_size"] = int(allowed.removeprefix("at most ").replace(",", ""))
    assert tight.client.post("/v1/jobs", json=spec).status_code == 202
    spec["training"]["batch_size"] += 1
    assert tight.client.post("/v1/jobs", json=spec).status_code == 422
