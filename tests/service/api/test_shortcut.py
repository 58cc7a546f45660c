"""The way past the router: taken by predict requests alone, and answered as the route answers."""

from pathlib import Path
from typing import Any

import pytest

from service.api import shortcut
from service.api.app import create_app
from service.settings import Settings

MODEL = "mdl_" + "0" * 26


@pytest.mark.parametrize(
    ("path", "more", "reference"),
    [
        (f"/v1/models/{MODEL}/predict", {}, MODEL),
        ("/v1/models/wine@production/predict", {}, "wine@production"),
        ("/v1/models/red wine@production/predict", {}, "red wine@production"),
        (f"/v1/models/{MODEL}/predict", {"method": "GET"}, None),
        (f"/v1/models/{MODEL}/predict", {"type": "websocket"}, None),
        (f"/v1/models/{MODEL}/predict", {"query_string": b"x=1"}, None),
        (f"/v1/models/{MODEL}/predict", {"root_path": "/trainyard"}, None),
        (f"/v1/models/{MODEL}/predict/", {}, None),
        (f"/v1/models/{MODEL}/predict\n", {}, None),
        (f"/v1/models/{MODEL}", {}, None),
        (f"/v2/models/{MODEL}/predict", {}, None),
        ("/v1/models/wine/predict", {}, None),
        ("/v1/models/a/b@c/predict", {}, None),
        ("/v1/models/@/predict", {}, None),
    ],
)
def test_only_predict_requests_take_it(path: str, more: dict[str, Any], reference: str | None) -> None:
    scope = {"type": "http", "method": "POST", "query_string": b"", "root_path": "", "path": path, **more}
    assert shortcut._reference(scope) == reference


def test_no_dependency_holds_for_every_request_since_it_would_be_passed_by() -> None:
    """What is asked of every request, such as who it comes from, is middleware around the shortcut."""
    assert create_app(Settings(home=Path("/nonexistent"))).router.dependencies == []


def test_the_route_answers_the_same(api: Any, iris_csv: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    job = api.submit(api.spec(api.upload(iris_csv)["id"], name="iris"))["id"]
    api.work(only=job)
    model = api.client.get(f"/v1/jobs/{job}").json()["model"]
    api.client.put(f"/v1/models/{model}/aliases/iris@shortcut").raise_for_status()
    row = {"rows": [[5.1, 3.5, 1.4, 0.2]]}
    requests: list[tuple[str, dict[str, Any]]] = [
        (model, {"json": row}),
        ("iris@shortcut", {"json": row}),
        (model, {"json": row, "headers": {"Accept": "application/octet-stream"}}),
        (model, {"json": {"rows": [[1]]}}),
        (model, {"content": b"{"}),
        (model, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
        (model, {"content": b"{}", "headers": {"Content-Encoding": "gzip"}}),
        (model, {"content": b" " * (65 * 1024 * 1024)}),
        (MODEL, {"json": row}),
        ("no@body", {"json": row}),
    ]

    def answers() -> list[Any]:
        found = [api.client.post(f"/v1/models/{name}/predict", **request) for name, request in requests]
        return [(answer.status_code, answer.headers["content-type"], answer.content) for answer in found]

    short = answers()
    monkeypatch.setattr(shortcut, "_reference", lambda scope: None)
    assert answers() == short
    assert [status for status, *_ in short] == [200, 200, 200, 422, 400, 415, 415, 413, 404, 404]
