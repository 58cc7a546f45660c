"""Downloading profiles, and where the time of a job went."""

import gzip
import json
from typing import Any

import pytest


@pytest.fixture(scope="module")
def profiled(sqlite_api: Any, iris_csv: bytes) -> str:
    """A job that has been trained with a profile."""
    training = {"epochs": 5, "batch_size": 8, "profile": True}
    job: str = sqlite_api.submit(sqlite_api.spec(sqlite_api.upload(iris_csv)["id"], training=training))["id"]
    early = sqlite_api.client.get(f"/v1/jobs/{job}/profile")
    assert early.status_code == 404 and "not over yet" in early.json()["detail"]
    assert sqlite_api.client.get(f"/v1/jobs/{job}").json()["timings"] is None
    sqlite_api.work(only=job)
    return job


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("identity", False),
        ("gzip;q=0, identity", False),
        ("gzip; q=0.0", False),
        ("", False),
    ],
)
def test_a_profile_is_a_trace_that_chrome_reads(api: Any, profiled: str, accepted: str, packed: bool) -> None:
    url, headers = f"/v1/jobs/{profiled}/profile", {"Accept-Encoding": accepted}
    with api.client.stream("GET", url, headers=headers) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert (answer.headers.get("content-encoding") == "gzip") == packed
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["content-disposition"] == f'attachment; filename="{profiled}.trace.json"'
    trace = json.loads(gzip.decompress(raw) if packed else raw)
    assert {event["name"] for event in trace["traceEvents"]} >= {"step 11", "aten::addmm"}
    assert api.client.head(url, headers=headers).status_code == 200


def test_a_job_without_a_profile_says_why(api: Any, iris_csv: bytes) -> None:
    dataset = api.upload(iris_csv)["id"]
    plain = api.submit(api.spec(dataset))["id"]
    cancelled = api.submit(api.spec(dataset, training={"profile": True}))["id"]
    api.client.post(f"/v1/jobs/{cancelled}/cancel")
    for job, reason in ((plain, "training.profile"), (cancelled, "ended before")):
        answer = api.client.get(f"/v1/jobs/{job}/profile")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert reason in answer.json()["detail"]
    nobody = api.client.get("/v1/jobs/job_01jb8gd7c2q4w9x5t6n3k0v8rz/profile")
    assert nobody.status_code == 404 and "profile" not in nobody.json()["detail"]


def test_a_job_says_where_its_time_went(api: Any, profiled: str) -> None:
    job = api.client.get(f"/v1/jobs/{profiled}").json()
    parts = ["data", "step", "validation", "checkpoint"]
    assert list(job["timings"]) == [f"{part}_seconds" for part in (*parts, "total")]
    assert all(job["timings"][f"{part}_seconds"] > 0 for part in parts)
    assert sum(job["timings"][f"{part}_seconds"] for part in parts) <= job["timings"]["total_seconds"] + 0.01
    assert (job["receipt"]["precision"], job["receipt"]["tf32"], job["receipt"]["compiled"]) == (
        "float32",
        False,
        False,
    )


@pytest.mark.parametrize(
    ("training", "path"),
    [
        ({"precision": "float64"}, "training.precision"),
        ({"precision": "bf16"}, "training.precision"),
        ({"tf32": "yes"}, "training.tf32"),
        ({"compile": 1}, "training.compile"),
        ({"profile": None}, "training.profile"),
    ],
)
def test_what_is_no_precision_and_no_switch_is_refused_by_its_path(
    api: Any, iris_csv: bytes, training: dict[str, Any], path: str
) -> None:
    answer = api.client.post("/v1/jobs", json=api.spec(api.upload(iris_csv)["id"], training=training))
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["path"] == path and problem["got"] == next(iter(training.values()))
