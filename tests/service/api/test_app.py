import asyncio
import functools
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.requests import ClientDisconnect

from service.api import examples
from service.api.access import Access
from service.api.app import create_app
from service.errors import SchemaMismatch
from service.settings import Settings
from service.store.engine import open_store
from tests.support.ports import free_port
from tests.support.warm import Process, warm_process

COMMAND = [sys.executable, "-m", "uvicorn", "service.api.app:create_app", "--factory", "--log-level", "warning"]


@contextmanager
def process(settings: Settings) -> Iterator[tuple[Process, str]]:
    """Run the server as `trainyard serve` does; gives the process and its address. Its log is in its home."""
    port = free_port()
    server = warm_process([*COMMAND, "--port", str(port)], settings.environment(), settings.home / "server.log")
    try:
        url = f"http://127.0.0.1:{port}"
        while not answers(url):
            assert server.poll() is None, "the server died"
            time.sleep(0.02)
        yield server, url
    finally:
        server.kill()
        server.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_an_open_stream_does_not_keep_the_server_from_ending(own: Any, iris_csv: bytes) -> None:
    job = own.submit(own.spec(own.upload(iris_csv)["id"]))["id"]
    with process(own.settings) as (server, url):
        rescue = threading.Timer(30, server.kill)
        rescue.start()
        with httpx.stream("GET", f"{url}/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("id: ")
            server.terminate()
            for _ in lines:  # the stream ends, it does not break
                pass
        assert server.wait() in (0, -signal.SIGTERM)
        rescue.cancel()


def test_the_log_has_one_json_line_a_request(own: Any) -> None:
    loud = own.settings.model_copy(update={"log_level": "INFO"})
    with process(loud) as (server, url):
        httpx.get(f"{url}/v1/jobs/nobody", headers={"X-Request-Id": "mine-1"})
        httpx.get(f"{url}/healthz")
        os.kill(server.pid, signal.SIGINT)
        server.wait()
    (line,) = [json.loads(line) for line in (own.settings.home / "server.log").read_text().splitlines()]
    assert line.pop("ms") >= 0
    assert line.pop("timestamp").endswith("Z")
    expected = {"method": "GET", "path": "/v1/jobs/nobody", "status": 404, "request_id": "mine-1"}
    assert line == {"event": "request", "level": "info", **expected}


def test_a_large_file_is_never_whole_in_memory(own: Any) -> None:
    size, most = 150_000_000, 100_000_000
    block = b"".join(b"%d,%d.25,name%d\n" % (i, i, i % 7) for i in range(50_000))

    def lines() -> Iterator[bytes]:
        yield b"a,b,c\n"
        yield from itertools.repeat(block, size // len(block))

    with process(own.settings) as (server, url), httpx.Client(base_url=url, timeout=120) as client:
        post = functools.partial(client.post, "/v1/datasets", headers={"Content-Type": "text/csv"})
        assert post(content=b"a,b,c\n" + block).status_code == 201
        # Torch loads much of itself at first use, which has nothing to do with the file.
        assert client.post("/v1/networks/validate", json=examples.CHECKS["without data"]).status_code == 200
        before = peak(server.pid)
        assert post(content=lines()).status_code == 201
        assert peak(server.pid) - before < most


def peak(pid: int) -> int:
    """The most memory that a process has ever used, in bytes."""
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_a_request_id_is_echoed_or_made(api: Any) -> None:
    assert api.client.get("/healthz", headers={"X-Request-Id": "a.b-1"}).headers["x-request-id"] == "a.b-1"
    made = {api.client.get("/nowhere").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for nonsense in ("x" * 200, "a b", 'a"b'):
        assert api.client.get("/", headers={"X-Request-Id": nonsense}).headers["x-request-id"] != nonsense


def test_a_database_that_is_behind_is_not_served(tmp_path: Path, redis_url: str) -> None:
    settings = Settings(home=tmp_path, broker_url=redis_url)
    with pytest.raises(SchemaMismatch, match="trainyard migrate"):
        run_lifespan(settings)


def run_lifespan(settings: Settings) -> None:
    """Start the application as a server would, and end it."""

    async def go() -> None:
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(go())


def test_what_a_killed_server_left_of_uploads_is_removed(settings: Settings) -> None:
    old, fresh = settings.home / "uploads/upload-a/file", settings.home / "uploads/upload-b/file"
    for file in (old, fresh):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"1")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    run_lifespan(settings)
    assert (old.parent.exists(), fresh.exists()) == (False, True)


def test_a_database_that_breaks_is_answered_with_503(own: Any) -> None:
    store = open_store(own.settings.effective_database_url)
    with store.begin() as session:
        session.execute(text("ALTER TABLE jobs RENAME TO elsewhere"))
    store.dispose()
    answer = own.client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_a_fault_of_ours_is_answered_without_details(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret")

    async def nothing() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1/jobs", "headers": [(b"x-request-id", b"r-1")]}
    asyncio.run(Access(broken)(scope, nothing, send))
    assert sent[0]["status"] == 500
    problem = json.loads(sent[1]["body"])
    assert problem["code"] == "internal_error"
    assert "secret" not in sent[1]["body"].decode()
    assert "r-1" in problem["detail"]
    assert "secret" in capsys.readouterr().out


def test_an_answer_that_has_begun_is_broken_off() -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late")

    async def send(message: dict[str, Any]) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(ConnectionAbortedError):
        asyncio.run(Access(half)(scope, send, send))


def test_the_level_of_the_log_is_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    async def gone(scope: Any, receive: Any, send: Any) -> None:
        raise ClientDisconnect

    for level in ("ERROR", "INFO"):
        scope = {"type": "http", "method": "GET", "path": f"/{level}", "headers": []}
        asyncio.run(Access(gone, level)(scope, gone, gone))
    assert [json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()] == ["/INFO"]
