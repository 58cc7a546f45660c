"""Commands through HTTP: what is answered, and that a job that was stopped goes on where it was."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from service.queue import Queue
from service.settings import Settings

COMMANDS = ("pause", "resume", "cancel", "kill", "retry")


def ask(api: Any, job: str, name: str) -> Any:
    return api.client.post(f"/v1/jobs/{job}/{name}")


def test_a_job_that_waits_is_paused_and_resumed(both: Any, iris_csv: bytes) -> None:
    job = both.submit(both.spec(both.upload(iris_csv)["id"]))["id"]
    for _ in range(2):
        answer = ask(both, job, "pause")
        assert (answer.status_code, answer.json()["status"], answer.json()["position"]) == (200, "paused", None)
    for _ in range(2):
        answer = ask(both, job, "resume")
        assert (answer.status_code, answer.json()["status"]) == (200, "queued")
        assert answer.json()["position"] >= 1
    events = both.client.get(f"/v1/jobs/{job}/events").json()["data"]
    assert [event["type"] for event in events] == ["queued", "paused", "resume"]


def test_what_is_of_no_use_is_refused_with_a_sentence(both: Any, iris_csv: bytes) -> None:
    job = both.submit(both.spec(both.upload(iris_csv)["id"]))["id"]
    ask(both, job, "cancel")
    for name in ("pause", "resume"):
        answer = ask(both, job, name)
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
        assert f"Job {job} is cancelled: a job can be" in answer.json()["detail"]
    assert ask(both, job, "retry").json()["status"] == "queued"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_job_that_is_not_there(both: Any, name: str) -> None:
    assert ask(both, "job_" + "0" * 26, name).status_code == 404


@pytest.mark.parametrize(("stop", "again"), [("pause", "resume"), ("kill", "retry")])
def test_a_run_that_was_stopped_is_published_again_and_goes_on(
    own: Any, iris_csv: bytes, stop: str, again: str
) -> None:
    spec = own.spec(own.upload(iris_csv)["id"], training={"epochs": 3000, "checkpoint_seconds": 0})
    job = own.submit(spec)["id"]
    worker = threading.Thread(target=own.work)
    worker.start()
    while own.client.get(f"/v1/jobs/{job}").json()["progress"]["epoch"] < 5:
        time.sleep(0.01)
    assert ask(own, job, stop).status_code == 200
    worker.join()
    stopped = own.client.get(f"/v1/jobs/{job}").json()
    assert stopped["status"] == {"pause": "paused", "kill": "cancelled"}[stop]
    queue = Queue(own.settings.effective_broker_url)
    before = queue.depth()
    assert ask(own, job, again).json()["status"] == "queued"
    assert queue.depth() == (before or 0) + 1
    queue.close()
    ask(own, job, "pause")
    events = [event["type"] for event in own.client.get(f"/v1/jobs/{job}/events").json()["data"]]
    assert "checkpoint" in events and again in events


def trained(api: Any, dataset: str, **sections: Any) -> Any:
    job = api.submit(api.spec(dataset, **sections))["id"]
    api.work(job)
    done = api.client.get(f"/v1/jobs/{job}").json()
    assert done["status"] == "succeeded", done["error"]
    return done


def extend(api: Any, job: str, **body: Any) -> Any:
    return api.client.post(f"/v1/jobs/{job}/extend", json=body)


def curve(api: Any, job: str) -> list[Any]:
    points = api.client.get(f"/v1/jobs/{job}/metrics?name=loss").json()["data"]
    return [(p["split"], p["epoch"], p["step"], p["value"]) for p in points if p["split"] != "test"]


@pytest.fixture
def fresh(settings: Settings, database_url: str, serving: Any) -> Iterator[Any]:
    """A server of the test's own, once on each database."""
    with serving(settings.model_copy(update={"database_url": database_url})) as api:
        yield api


def test_an_extended_job_is_as_if_it_had_been_that_long_from_the_start(fresh: Any, iris_csv: bytes) -> None:
    dataset = fresh.upload(iris_csv)["id"]
    short, long = (trained(fresh, dataset, training={"epochs": epochs}) for epochs in (3, 7))
    answer = extend(fresh, short["id"], epochs=4)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["parent"], job["spec"]["training"]["epochs"]) == (short["id"], 7)
    assert job["spec_sha256"] not in (short["spec_sha256"], long["spec_sha256"])
    fresh.work(job["id"])
    done = fresh.client.get(f"/v1/jobs/{job['id']}").json()
    assert done["status"] == "succeeded", done["error"]
    assert done["receipt"]["weights_sha256"] == long["receipt"]["weights_sha256"]
    assert curve(fresh, job["id"]) == curve(fresh, long["id"])
    assert fresh.client.get(f"/v1/jobs/{short['id']}").json() == short
    told = [event["type"] for event in fresh.client.get(f"/v1/jobs/{job['id']}/events").json()["data"]]
    assert told[:5] == ["queued", "extends", "claimed", "training", "resumed"]


def test_the_same_extension_is_the_same_job(own: Any, iris_csv: bytes) -> None:
    done = trained(own, own.upload(iris_csv)["id"])
    jobs = [extend(own, done["id"], epochs=2).json()["id"] for _ in range(2)]
    other = extend(own, done["id"], epochs=3).json()["id"]
    assert jobs[0] == jobs[1] != other
    for job in (jobs[0], other):
        ask(own, job, "cancel")


def test_what_may_change_changes_and_what_may_not_is_refused_by_name(own: Any, iris_csv: bytes) -> None:
    done = trained(own, own.upload(iris_csv)["id"])
    changes = {"optimizer.learning_rate": 0.5, "schedule": "cosine", "name": "longer"}
    job = extend(own, done["id"], epochs=1, settings=changes).json()
    assert job["spec"]["optimizer"]["learning_rate"] == 0.5
    assert (job["spec"]["schedule"]["type"], job["name"]) == ("cosine", "longer")
    ask(own, job["id"], "cancel")

    refused = {"training.seed": 3, "optimizer.type": "sgd", "optimizer.learning_rat": 1, "regularization.l2": 0.1}
    answer = extend(own, done["id"], epochs=1, settings=refused)
    assert answer.status_code == 422
    found = {problem["path"]: problem["message"] for problem in answer.json()["errors"]}
    assert set(found) == {f'settings["{name}"]' for name in list(refused)[:3]}
    assert 'did you mean "optimizer.learning_rate"?' in found['settings["optimizer.learning_rat"]']
    answer = extend(own, done["id"], epochs=1, settings={"optimizer.learning_rate": "fast"})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "optimizer.learning_rate")
    answer = extend(own, done["id"], epochs=0)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "epochs")


def test_only_what_has_succeeded_is_extended(both: Any, iris_csv: bytes) -> None:
    job = both.submit(both.spec(both.upload(iris_csv)["id"]))["id"]
    answer = extend(both, job, epochs=1)
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    ask(both, job, "cancel")
