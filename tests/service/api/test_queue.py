"""The queue as clients see it: whose job it is, where it stands, why it waits, and when it is full."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from service.queue import Queue
from service.settings import Settings
from service.store import workers
from service.store.engine import Store, open_store

HEADER = "X-Trainyard-Submitter"


def beat(settings: Settings, device: str) -> None:
    store = open_store(settings.effective_database_url)
    with store.begin() as session:
        workers.beat(session, device, host="h", pid=1, slots=1, device=device)
    store.dispose()


@pytest.fixture
def limited(settings: Settings, database_url: str, serving: Any) -> Callable[..., Any]:
    """Starts a server with limits, on each database."""

    @contextmanager
    def start(**limits: int) -> Iterator[Any]:
        with serving(settings.model_copy(update={"database_url": database_url, **limits})) as api:
            yield api

    return start


def test_jobs_know_their_submitter_and_lists_can_be_of_one(own: Any, iris_csv: bytes) -> None:
    spec = own.spec(own.upload(iris_csv)["id"])
    anonymous, ada, bob = own.submit(spec), own.submit(spec, **{HEADER: "ada"}), own.submit(spec, **{HEADER: "b o b"})
    assert [job["submitter"] for job in (anonymous, ada, bob)] == ["anonymous", "ada", "b o b"]
    for job in (anonymous, ada, bob):
        listed = own.client.get("/v1/jobs", params={"submitter": job["submitter"]}).json()["data"]
        assert [found["id"] for found in listed] == [job["id"]]
    assert own.client.get("/v1/jobs?submitter=nobody").json()["data"] == []
    page = own.client.get("/v1/jobs?submitter=ada&status=running").json()
    assert page["data"] == []


@pytest.mark.parametrize("name", ["", "a" * 201, "j\xf6rg", "a\tb"])
def test_a_submitter_that_is_none_is_refused(api: Any, name: str) -> None:
    answer = api.client.post("/v1/jobs", json={}, headers=[(HEADER, name.encode("latin-1"))])
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, HEADER)
    answer = api.client.get("/v1/jobs", params={"submitter": name})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "submitter")


def test_the_same_key_of_another_submitter_is_another_request(api: Any, iris_csv: bytes) -> None:
    spec = api.spec(api.upload(iris_csv)["id"])
    headers = {"Idempotency-Key": f"{spec['data']['dataset']}-q"}
    assert api.client.post("/v1/jobs", json=spec, headers=headers).status_code == 202
    answer = api.client.post("/v1/jobs", json=spec, headers={**headers, HEADER: "ada"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


def test_jobs_tell_their_place(own: Any, iris_csv: bytes) -> None:
    beat(own.settings, "cpu")
    spec = own.spec(own.upload(iris_csv)["id"])
    ada = [own.submit(spec, **{HEADER: "ada"})["id"] for _ in range(3)]
    bob = own.submit(spec, **{HEADER: "bob"})
    assert (bob["position"], bob["queue"]) == (
        2,
        {"position": 2, "ahead": 1, "device": "auto", "devices": 1, "reason": None},
    )
    urgent = own.submit({**spec, "priority": 5}, **{HEADER: "ada"})
    assert (urgent["priority"], urgent["queue"]["ahead"]) == (5, 0)
    listed = own.client.get("/v1/jobs").json()["data"]
    places = {job["id"]: job["queue"]["position"] for job in listed}
    # Ada has one running then, so it is bob's turn.
    assert places == {urgent["id"]: 1, bob["id"]: 2, **{job_id: place for place, job_id in enumerate(ada, 3)}}
    assert own.client.get(f"/v1/jobs/{ada[2]}").json()["queue"]["position"] == 5
    own.client.post(f"/v1/jobs/{bob['id']}/pause")
    assert own.client.get(f"/v1/jobs/{bob['id']}").json()["queue"] is None
    assert own.client.get(f"/v1/jobs/{ada[2]}").json()["queue"]["position"] == 4


def test_a_job_for_a_gpu_that_nobody_has_waits_and_says_so(own: Any, iris_csv: bytes) -> None:
    beat(own.settings, "cpu")
    spec = own.spec(own.upload(iris_csv)["id"], training={"epochs": 2, "device": "cuda"})
    (advice,) = [
        found
        for found in own.client.post("/v1/networks/validate", json={"spec": spec}).json()["advice"]
        if found["code"] == "no_slot"
    ]
    assert advice["path"] == "training.device" and "GPU" in advice["reason"]
    job = own.submit(spec)
    assert "No living worker has a slot on a GPU" in job["queue"]["reason"]
    (warning,) = [e for e in own.client.get(f"/v1/jobs/{job['id']}/events").json()["data"] if e["level"] == "warn"]
    assert (warning["type"], warning["message"]) == ("no_slot", job["queue"]["reason"])
    messages = Queue(own.settings.effective_broker_url)
    assert [messages.depth(device) for device in ("auto", "cpu", "cuda")] == [0, 0, 1]
    messages.close()
    beat(own.settings, "cuda")
    assert own.client.get(f"/v1/jobs/{job['id']}").json()["queue"]["reason"] is None


def test_a_job_for_several_gpus_waits_for_such_a_slot_and_says_so(own: Any, iris_csv: bytes) -> None:
    beat(own.settings, "cuda")
    training = {"epochs": 2, "device": "cuda", "devices": 2}
    spec = own.spec(own.upload(iris_csv)["id"], training=training)
    advices = own.client.post("/v1/networks/validate", json={"spec": spec}).json()["advice"]
    (advice,) = [found for found in advices if found["code"] == "no_slot"]
    job = own.submit(spec)
    assert advice["path"] == "training.devices" and advice["reason"] == job["queue"]["reason"]
    assert (job["queue"]["device"], job["queue"]["devices"]) == ("cuda", 2)
    assert "TRAINYARD_DEVICES=cuda:0+cuda:1" in job["queue"]["reason"]
    for wrong, allowed in ((17, "16"), (0, "1"), ("2", "")):
        answer = own.client.post("/v1/jobs", json={**spec, "training": {**training, "devices": wrong}})
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["path"], error["got"]) == (422, "training.devices", wrong)
        assert allowed in str(error["allowed"])
    answer = own.client.post("/v1/jobs", json={**spec, "training": {**training, "batch_size": 1}})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["path"]) == (422, "training.devices") and "batch_size is 1" in error["message"]


def test_a_full_queue_is_429_and_burns_no_key(limited: Any, iris_csv: bytes) -> None:
    with limited(max_queued=1) as api:
        spec = api.spec(api.upload(iris_csv)["id"])
        first = api.submit(spec)["id"]
        headers = {"Idempotency-Key": "k"}
        for _ in range(2):
            answer = api.client.post("/v1/jobs", json=spec, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
        assert len(api.client.get("/v1/jobs").json()["data"]) == 1
        api.client.post(f"/v1/jobs/{first}/cancel")
        assert api.client.post("/v1/jobs", json=spec, headers=headers).status_code == 202
        answer = api.client.post(f"/v1/jobs/{first}/retry")
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
        assert api.client.get(f"/v1/jobs/{first}").json()["status"] == "cancelled"


def test_a_submitter_at_the_limit_is_refused_and_others_are_not(limited: Any, iris_csv: bytes) -> None:
    with limited(max_queued_per_submitter=3) as api:
        spec = api.spec(api.upload(iris_csv)["id"])
        start = threading.Barrier(8)

        def submit(_: int) -> int:
            start.wait()
            return int(api.client.post("/v1/jobs", json=spec, headers={HEADER: "ada"}).status_code)

        with ThreadPoolExecutor(8) as threads:
            codes = sorted(threads.map(submit, range(8)))
        assert codes == [202] * 3 + [429] * 5
        assert "'ada'" in api.client.post("/v1/jobs", json=spec, headers={HEADER: "ada"}).json()["detail"]
        assert api.submit(spec, **{HEADER: "bob"})["status"] == "queued"


def test_a_finished_job_can_be_reused_while_the_queue_is_full(limited: Any, iris_csv: bytes) -> None:
    with limited(max_queued=1) as api:
        spec = api.spec(api.upload(iris_csv)["id"])
        done = api.submit(spec)["id"]
        api.work()
        waits = api.submit({**spec, "training": {"epochs": 3}})["id"]
        assert api.client.post("/v1/jobs?reuse=true", json={**spec, "priority": 9}).json()["id"] == done
        answer = api.client.post(f"/v1/jobs/{done}/extend", json={"epochs": 1})
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
        api.client.post(f"/v1/jobs/{waits}/cancel")
        longer = api.client.post(f"/v1/jobs/{done}/extend", json={"epochs": 1, "settings": {"priority": 4}})
        assert (longer.status_code, longer.json()["priority"]) == (202, 4)


def test_a_limit_on_jobs_at_work_is_told(limited: Any, iris_csv: bytes, store: Store) -> None:
    with limited(max_running_per_submitter=1) as api:
        beat(api.settings, "cpu")
        spec = api.spec(api.upload(iris_csv)["id"])
        api.submit(spec)
        behind = api.submit(spec)
        assert behind["queue"] == {"position": 2, "ahead": 1, "device": "auto", "devices": 1, "reason": None}
        assert api._claim(store) is not None
        told = api.client.get(f"/v1/jobs/{behind['id']}").json()["queue"]
        assert told["position"] == 1 and "as many as one submitter may have" in told["reason"]
