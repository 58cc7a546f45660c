import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import safetensors.torch

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def done(sqlite_api: Any, iris_csv: bytes) -> str:
    """A job that has been trained."""
    training = {"epochs": 5, "batch_size": 8, "log_every_steps": 1}
    job: str = sqlite_api.submit(sqlite_api.spec(sqlite_api.upload(iris_csv)["id"], training=training))["id"]
    sqlite_api.work(only=job)
    return job


def messages(text: str) -> list[dict[str, Any]]:
    """Return the messages of an event stream."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


@contextmanager
def following(api: Any, job: str, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Follow a job, message by message."""
    with api.client.stream("GET", f"/v1/jobs/{job}/events", headers={**STREAM, **headers}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield (message for text in blocks(answer) for message in messages(text))


def blocks(answer: Any) -> Iterator[str]:
    pending = ""
    for piece in answer.iter_text():
        pending += piece
        while "\n\n" in pending:
            block, pending = pending.split("\n\n", 1)
            yield block


def test_metrics_can_be_narrowed_down(api: Any, done: str) -> None:
    url = f"/v1/jobs/{done}/metrics"
    everything = api.client.get(url).json()
    assert (everything["object"], everything["has_more"]) == ("list", False)
    assert {(m["name"], m["split"]) for m in everything["data"]} >= {("loss", "train"), ("accuracy", "validation")}
    of_loss = {"name": "loss", "split": "validation"}
    curve = api.client.get(url, params=of_loss).json()["data"]
    assert [m["epoch"] for m in curve] == [1, 2, 3, 4, 5]
    assert curve == [m for m in everything["data"] if (m["name"], m["split"]) == ("loss", "validation")]
    later = api.client.get(url, params={**of_loss, "since": curve[2]["step"]}).json()["data"]
    assert later == curve[3:]
    steps = [m["step"] for m in api.client.get(url, params={"name": "batch_loss"}).json()["data"]]
    thinned = [m["step"] for m in api.client.get(url, params={"name": "batch_loss", "max_points": 10}).json()["data"]]
    assert len(thinned) <= 12 < len(steps)
    assert (thinned[0], thinned[-1]) == (steps[0], steps[-1])


def test_events_are_a_list_in_pages(api: Any, done: str) -> None:
    url = f"/v1/jobs/{done}/events"
    events = api.client.get(url).json()
    assert events["has_more"] is False
    types = [event["type"] for event in events["data"]]
    assert (types[0], types[1], types[-1]) == ("queued", "claimed", "succeeded")
    assert {event["object"] for event in events["data"]} == {"event"}
    first = api.client.get(url, params={"limit": 1}).json()
    assert (first["data"], first["has_more"]) == (events["data"][:1], True)
    rest = api.client.get(url, params={"after": first["data"][0]["id"]}).json()["data"]
    assert rest == events["data"][1:]


def test_a_stream_of_a_job_that_is_over_gives_everything_and_ends(api: Any, done: str) -> None:
    answer = api.client.get(f"/v1/jobs/{done}/events", headers=STREAM)
    found = messages(answer.text)
    stored = api.client.get(f"/v1/jobs/{done}/events").json()["data"]
    assert [json.loads(m["data"]) for m in found if "id" in m] == stored
    assert [(m["event"], m["id"]) for m in found if "id" in m] == [(e["type"], str(e["id"])) for e in stored]
    progress = [json.loads(m["data"]) for m in found if m["event"] == "progress"]
    assert progress == [api.client.get(f"/v1/jobs/{done}").json()["progress"]]


def test_a_stream_goes_on_where_it_broke_off(api: Any, done: str) -> None:
    stored = api.client.get(f"/v1/jobs/{done}/events").json()["data"]
    headers = {**STREAM, "Last-Event-ID": str(stored[0]["id"])}
    found = messages(api.client.get(f"/v1/jobs/{done}/events", headers=headers).text)
    assert [int(m["id"]) for m in found if "id" in m] == [event["id"] for event in stored[1:]]


def test_a_stream_with_nothing_left_tells_the_browser_to_stay_away(api: Any, done: str) -> None:
    last = api.client.get(f"/v1/jobs/{done}/events").json()["data"][-1]["id"]
    answer = api.client.get(f"/v1/jobs/{done}/events", headers={**STREAM, "Last-Event-ID": str(last)})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_stream_tells_what_happens_while_it_happens(both: Any, iris_csv: bytes) -> None:
    job = both.submit(both.spec(both.upload(iris_csv)["id"]))["id"]
    with following(both, job) as stream:
        assert next(stream)["event"] == "queued"
        assert json.loads(next(stream)["data"])["fraction"] == 0
        both.client.post(f"/v1/jobs/{job}/cancel")
        assert [message["event"] for message in stream] == ["cancelled"]


def test_a_stream_follows_the_progress_of_a_run(own: Any, iris_csv: bytes) -> None:
    spec = own.spec(own.upload(iris_csv)["id"], training={"epochs": 1_000_000})
    job = own.submit(spec)["id"]
    worker = threading.Thread(target=own.work)
    with following(own, job) as stream:
        worker.start()
        seen = []
        for message in stream:
            seen.append(message["event"])
            if message["event"] == "progress" and json.loads(message["data"])["epoch"] > 1:
                own.client.post(f"/v1/jobs/{job}/cancel")
        worker.join()
    told = [event for event in seen if event not in ("progress", "checkpoint")]
    assert told == ["queued", "claimed", "training", "cancelling", "cancelled"]
    assert seen.count("progress") > 2


def test_a_stream_of_a_job_that_is_deleted_ends(both: Any, iris_csv: bytes) -> None:
    job = both.submit(both.spec(both.upload(iris_csv)["id"]))["id"]
    with following(both, job) as stream:
        assert next(stream)["event"] == "queued"
        both.client.delete(f"/v1/jobs/{job}")
        assert {message["event"] for message in stream} <= {"progress"}


def test_many_streams_do_not_hold_up_others(own: Any, iris_csv: bytes) -> None:
    job = own.submit(own.spec(own.upload(iris_csv)["id"]))["id"]
    streams = [following(own, job) for _ in range(60)]
    entered = [stream.__enter__() for stream in streams]
    try:
        assert {next(stream)["event"] for stream in entered} == {"queued"}
        assert own.client.get(f"/v1/jobs/{job}").status_code == 200
    finally:
        for stream in streams:
            stream.__exit__(None, None, None)


def test_checkpoints_can_be_listed_and_downloaded(api: Any, done: str) -> None:
    checkpoints = api.client.get(f"/v1/jobs/{done}/checkpoints").json()["data"]
    assert any(checkpoint["last"] for checkpoint in checkpoints)
    assert any(checkpoint["best"] for checkpoint in checkpoints)
    checkpoint = checkpoints[0]
    answer = api.client.get(f"/v1/jobs/{done}/checkpoints/{checkpoint['id']}/weights")
    assert answer.headers["etag"] == f'"{checkpoint["sha256"]}"'
    assert int(answer.headers["content-length"]) == checkpoint["size"] == len(answer.content)
    assert hashlib.sha256(answer.content).hexdigest() == checkpoint["sha256"]
    assert safetensors.torch.load(answer.content)


def test_a_checkpoint_belongs_to_its_job(api: Any, done: str, iris_csv: bytes) -> None:
    other = api.submit(api.spec(api.upload(iris_csv)["id"]))["id"]
    checkpoint = api.client.get(f"/v1/jobs/{done}/checkpoints").json()["data"][0]["id"]
    assert api.client.get(f"/v1/jobs/{other}/checkpoints/{checkpoint}/weights").status_code == 404
    assert api.client.get(f"/v1/jobs/{done}/checkpoints/ckpt_{'0' * 26}/weights").status_code == 404
