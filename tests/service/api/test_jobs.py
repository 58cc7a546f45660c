import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.queue import Queue
from service.settings import Settings


def test_a_job_is_queued_and_found_again(both: Any, iris_csv: bytes) -> None:
    dataset = both.upload(iris_csv)
    answer = both.client.post("/v1/jobs", json=both.spec(dataset["id"]))
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert re.fullmatch("job_[0-9a-z]{26}", job["id"])
    assert (job["object"], job["name"], job["status"]) == ("job", "small", "queued")
    assert (job["dataset"], job["data_sha256"], job["seed"]) == (dataset["id"], dataset["sha256"], 1)
    assert re.fullmatch("[0-9a-f]{64}", job["spec_sha256"])
    assert job["spec"]["optimizer"]["type"] == "adam"  # defaults are filled in
    assert job["position"] >= 1
    assert (job["model"], job["error"], job["receipt"], job["attempt"]) == (None, None, None, 0)
    assert (job["started_at"], job["finished_at"]) == (None, None)
    assert job["progress"] == {
        "epoch": 0,
        "step": 0,
        "total_epochs": 2,
        "total_steps": None,
        "fraction": 0.0,
        "samples_per_second": None,
        "eta_seconds": None,
    }
    assert both.client.get(f"/v1/jobs/{job['id']}").json() == job


def test_a_submitted_job_is_published(own: Any, iris_csv: bytes) -> None:
    queue = Queue(own.settings.effective_broker_url)
    assert queue.depth() == 0
    own.submit(own.spec(own.upload(iris_csv)["id"]))
    assert queue.depth() == 1
    queue.close()


def test_jobs_know_their_place_in_the_queue(own: Any, iris_csv: bytes) -> None:
    spec = own.spec(own.upload(iris_csv)["id"])
    one, two, three = (own.submit(spec) for _ in range(3))
    assert [job["position"] for job in (one, two, three)] == [1, 2, 3]
    cancelled = own.client.post(f"/v1/jobs/{one['id']}/cancel").json()
    assert (cancelled["status"], cancelled["position"]) == ("cancelled", None)
    listed = own.client.get("/v1/jobs").json()["data"]
    assert [(job["id"], job["position"]) for job in listed] == [(three["id"], 2), (two["id"], 1), (one["id"], None)]
    assert own.client.get(f"/v1/jobs/{three['id']}").json()["position"] == 2


def test_lists_can_be_of_one_status(own: Any, iris_csv: bytes) -> None:
    spec = own.spec(own.upload(iris_csv)["id"])
    jobs = [own.submit(spec)["id"] for _ in range(4)]
    for job in jobs[:2]:
        own.client.post(f"/v1/jobs/{job}/cancel")
    page = own.client.get("/v1/jobs?status=cancelled&limit=1").json()
    assert ([job["id"] for job in page["data"]], page["has_more"]) == ([jobs[1]], True)
    page = own.client.get(f"/v1/jobs?status=cancelled&limit=1&after={jobs[1]}").json()
    assert ([job["id"] for job in page["data"]], page["has_more"]) == ([jobs[0]], False)
    assert own.client.get("/v1/jobs?status=running").json()["data"] == []


def test_cancelling_is_idempotent(both: Any, iris_csv: bytes) -> None:
    job = both.submit(both.spec(both.upload(iris_csv)["id"]))["id"]
    first = both.client.post(f"/v1/jobs/{job}/cancel")
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert both.client.post(f"/v1/jobs/{job}/cancel").json() == first.json()
    assert first.json()["finished_at"] is not None


def test_a_job_is_deleted_with_what_belongs_to_it(both: Any, iris_csv: bytes) -> None:
    job = both.submit(both.spec(both.upload(iris_csv)["id"]))["id"]
    assert both.client.delete(f"/v1/jobs/{job}").status_code == 204
    for path in ("", "/events", "/metrics", "/checkpoints"):
        assert both.client.get(f"/v1/jobs/{job}{path}").status_code == 404


TEN_MISTAKES = {
    "nmae": "x",
    "network": {
        "layers": [
            {"type": "dense", "units": 0, "activation": "rleu"},
            {"type": "dropout", "rate": 2},
            {"type": "densse", "units": 3},
        ],
        "initializer": "he",
    },
    "loss": "cross_entropy",
    "optimizer": {"type": "adam", "learning_rate": "fast"},
    "data": {"target": "tagret", "split": {"validation": 1.5}},
    "training": {"epochs": 1.5},
}


def test_ten_mistakes_get_ten_problems_at_once(both: Any, iris_csv: bytes) -> None:
    data = {**TEN_MISTAKES["data"], "dataset": both.upload(iris_csv)["id"]}
    answer = both.client.post("/v1/jobs", json={**TEN_MISTAKES, "data": data})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec")
    problems = {problem["path"]: problem for problem in answer.json()["errors"]}
    assert set(problems) == {
        "nmae",
        "network.layers[0].units",
        "network.layers[0].activation",
        "network.layers[1].rate",
        "network.layers[2].type",
        "network.initializer",
        "optimizer.learning_rate",
        "data.target",
        "data.split.validation",
        "training.epochs",
    }
    assert "dense" in problems["network.layers[2].type"]["allowed"]
    assert "'target'" in problems["data.target"]["message"]  # did you mean


def test_mistakes_of_form_and_of_shape_come_together(api: Any, iris_csv: bytes) -> None:
    layers = [{"type": "conv2d", "filters": 4, "kernel_size": 3}, "flatten", {"type": "dense", "units": "auto"}]
    spec = api.spec(api.upload(iris_csv)["id"], network={"layers": layers}, optimizer="adamm")
    paths = [problem["path"] for problem in api.client.post("/v1/jobs", json=spec).json()["errors"]]
    assert sorted(paths) == ["network.layers[0]", "optimizer"]


def test_mistakes_about_columns_come_together(api: Any) -> None:
    dataset = api.upload(b"a,b,target\n1,x,1\n2,,2\n")["id"]
    data = {"dataset": dataset, "target": "target", "preprocessing": [{"type": "standardize", "columns": ["a", "z"]}]}
    spec = api.spec(dataset, data=data, loss="mse", metrics=["rmse"])
    problems = api.client.post("/v1/jobs", json=spec).json()["errors"]
    assert {problem["path"] for problem in problems} == {"data.preprocessing[0].columns[1]", "data.preprocessing"}


def test_an_unknown_data_set_is_a_problem_of_the_specification(both: Any) -> None:
    answer = both.client.post("/v1/jobs", json=both.spec("ds_" + "0" * 26, optimizer="adamm"))
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json()["errors"]] == ["optimizer", "data.dataset"]


def test_a_network_too_large_is_refused_before_it_is_made(api: Any, iris_csv: bytes) -> None:
    layers = [
        {"type": "dense", "units": 1_000_000},
        {"type": "dense", "units": 1_000_000},
        {"type": "dense", "units": "auto"},
    ]
    spec = api.spec(api.upload(iris_csv)["id"], network={"layers": layers})
    (problem,) = api.client.post("/v1/jobs", json=spec).json()["errors"]
    assert problem["path"].startswith("network.layers[1]")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_request"),
        (b"{", 400, "malformed_request"),
        (b'{"a": NaN}', 400, "malformed_request"),
        (b'{"a": 1e999}', 400, "malformed_request"),
        (b'{"name": "\\ud800"}', 400, "malformed_request"),
        (b'{"name": "a\\u0000b"}', 422, "invalid_spec"),
        (b'{"name": "a", "name": "b"}', 400, "malformed_request"),
        (b"\xff\xfe", 400, "malformed_request"),
        (b"[" * 100_000, 400, "malformed_request"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, 400, "malformed_request"),
        (b"null", 422, "invalid_spec"),
        (b"[]", 422, "invalid_spec"),
        (b'"relu"', 422, "invalid_spec"),
        (b"{}", 422, "invalid_spec"),
        (b'{"training": {"seed": 123456789012345678901234567890}}', 422, "invalid_spec"),
        (b'{"training": {"epochs": 9223372036854775808}}', 422, "invalid_spec"),
        (b'{"data": {"dataset": "ds_\\\\u0000"}}', 422, "invalid_spec"),
    ],
)
def test_a_body_that_is_no_specification_is_refused(both: Any, body: bytes, status: int, code: str) -> None:
    answer = both.client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 422),
        ("application/json; charset=UTF-8", 422),
        ("application/vnd.trainyard+json", 422),
        (None, 422),
        ("application/json; charset=utf-16", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("multipart/form-data", 415),
        ("application/xml", 415),
        ("rubbish", 415),
    ],
)
def test_only_json_is_read(api: Any, content_type: str | None, status: int) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert api.client.post("/v1/jobs", content=b"{}", headers=headers).status_code == status


def test_a_finished_job_tells_everything(own: Any, iris_csv: bytes) -> None:
    job = own.submit(own.spec(own.upload(iris_csv)["id"]))["id"]
    own.work()
    done = own.client.get(f"/v1/jobs/{job}").json()
    assert (done["status"], done["error"], done["attempt"]) == ("succeeded", None, 1)
    assert re.fullmatch("mdl_[0-9a-z]{26}", done["model"])
    progress = done["progress"]
    assert (progress["epoch"], progress["fraction"], progress["eta_seconds"]) == (2, 1.0, 0.0)
    assert progress["step"] == progress["total_steps"]
    assert done["receipt"]["spec_sha256"] == done["spec_sha256"]
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]


def test_a_failed_job_says_why(own: Any) -> None:
    rows = "\n".join(f"{i}e30,{i}e30" for i in range(1, 40))
    dataset = own.upload(f"a,target\n{rows}\n".encode())["id"]
    spec = own.spec(dataset, loss="mse", metrics=["rmse"], optimizer={"type": "sgd", "learning_rate": 10.0})
    spec["data"]["preprocessing"] = []
    job = own.submit(spec)["id"]
    own.work()
    done = own.client.get(f"/v1/jobs/{job}").json()
    assert (done["status"], done["error"]["code"], done["model"]) == ("failed", "non_finite_loss", None)
    assert done["error"]["message"]


def test_reuse_answers_with_the_finished_job(own: Any, iris_csv: bytes) -> None:
    dataset = own.upload(iris_csv)["id"]
    spec = own.spec(dataset)
    first = own.client.post("/v1/jobs?reuse=true", json=spec)
    assert first.status_code == 202  # nothing to reuse yet
    own.work()
    again = own.client.post("/v1/jobs?reuse=true", json={**spec, "name": "another name"})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.json()["status"] == "succeeded"
    assert again.headers["location"] == f"/v1/jobs/{first.json()['id']}"
    in_the_body = own.client.post("/v1/jobs", json={**spec, "reuse": True})
    assert (in_the_body.status_code, in_the_body.json()["id"]) == (200, first.json()["id"])
    assert own.client.post("/v1/jobs", json={**spec, "reuse": "yes"}).status_code == 422
    same_bytes = own.upload(iris_csv)["id"]
    assert own.client.post("/v1/jobs?reuse=true", json=own.spec(same_bytes)).status_code == 200
    assert own.client.post("/v1/jobs", json={**spec, "reuse": False}).status_code == 202
    other_seed = {**spec, "training": {"epochs": 2, "seed": 2}}
    assert own.client.post("/v1/jobs?reuse=true", json=other_seed).status_code == 202


def test_a_dead_broker_is_only_a_delay(settings: Settings, iris_csv: bytes, serving: Any) -> None:
    nowhere = settings.model_copy(update={"broker_url": f"redis+socket://{settings.home}/nobody.sock"})
    with serving(nowhere) as api:
        job = api.submit(api.spec(api.upload(iris_csv)["id"]))
        assert job["status"] == "queued"
        api.work()
        assert api.client.get(f"/v1/jobs/{job['id']}").json()["status"] == "succeeded"


def test_many_clients_at_once_get_a_job_each(both: Any, iris_csv: bytes) -> None:
    spec = both.spec(both.upload(iris_csv)["id"])
    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(lambda _: both.submit(spec)["id"], range(64)))
    assert len(set(jobs)) == 64


def test_a_job_that_runs_cannot_be_deleted_and_can_be_cancelled(own: Any, iris_csv: bytes) -> None:
    spec = own.spec(own.upload(iris_csv)["id"], training={"epochs": 1_000_000})
    job = own.submit(spec)["id"]
    worker = threading.Thread(target=own.work)
    worker.start()
    try:
        while own.client.get(f"/v1/jobs/{job}").json()["status"] != "running":
            time.sleep(0.01)
        answer = own.client.delete(f"/v1/jobs/{job}")
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    finally:
        assert own.client.post(f"/v1/jobs/{job}/cancel").json()["status"] in ("cancelling", "cancelled")
        worker.join()
    assert own.client.get(f"/v1/jobs/{job}").json()["status"] == "cancelled"
    assert own.client.delete(f"/v1/jobs/{job}").status_code == 204
