"""Commands through HTTP: what is answered, and that a job that was stopped goes on where it was."""

import threading
import time
from typing import Any

import pytest

from service.queue import Queue

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
