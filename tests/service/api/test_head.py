"""HEAD: the headers of GET, and no body."""

from typing import Any

import httpx
import pytest


@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/datasets/ds_nothing", "/healthz", "/v1/blocks", "/openapi.json"])
def test_head_is_get_without_the_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.content == b"" != get.content


def test_a_stream_of_events_ends_at_once(api: Any, iris_csv: bytes) -> None:
    job = api.submit(api.spec(api.upload(iris_csv)["id"]))["id"]
    answer = api.client.head(f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}, timeout=5)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert api.client.get("/healthz").status_code == 200


def test_where_get_is_not_allowed_neither_is_head(client: httpx.Client) -> None:
    answer = client.head("/v1/networks/validate")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
