"""The OpenAPI document is held against the running server: examples, boundaries, random and wrong requests."""

import copy
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import booleans, dictionaries, floats, integers, lists, none, recursive, sampled_from, text

SECTIONS = ("name", "network", "loss", "optimizer", "schedule", "regularization", "training", "metrics")
ANYTHING = recursive(
    none() | booleans() | integers() | floats(allow_nan=False, allow_infinity=False) | text(),
    lambda inner: lists(inner, max_size=3) | dictionaries(text(), inner, max_size=3),
    max_leaves=6,
)
"""JSON values."""
COMMAND = [sys.executable, "-m", "schemathesis.cli"]
PATIENCE = ("--request-timeout", "120")
"""Exports take seconds, and many of them on a busy machine."""
# A file or a specification that fits its schema may still make no sense, and is then refused with 422. Whether the
# service is ready is not for the client to decide.
CONFIG = """
[[operations]]
include-path = "/readyz"
enabled = false

[[operations]]
include-name = [
    "POST /v1/datasets", "POST /v1/jobs", "POST /v1/networks/validate", "POST /v1/models/{model_id}/predict",
    "POST /v1/jobs/{job_id}/extend", "POST /v1/models/{model_id}/evaluate", "POST /v1/models/{model_id}/importance",
    "POST /v1/webhooks", "POST /v1/weights", "POST /v1/models", "POST /v1/models/{model_id}/predictions",
    "PUT /v1/models/{model_id}/aliases/{alias}",
    "POST /v2/models/{model_id}/infer", "POST /v2/models/{model_id}/versions/{version}/infer",
]
checks.positive_data_acceptance.enabled = false

# What fits the schema may still be refused: dropout where no layer is random, a replica where there is one network.
[[operations]]
include-name = ["GET /v1/models/{model_id}/export", "GET /v1/jobs/{job_id}/metrics"]
checks.positive_data_acceptance.enabled = false
"""
# A POST repeated with its Idempotency-Key has the answer of the first, also when what that created was deleted since.
CHAINS = """
[checks]
ensure_resource_availability.enabled = false
"""
# The boundaries of every field of the language are thousands of requests; random and wrong specifications have tests of
# their own below. What else is left out has the fields of another request, whose boundaries are sent.
IDS = """
[[operations]]
include-name = [
    "POST /v1/jobs", "POST /v1/models/{model_id}/predictions", "POST /v1/models/{model_id}/importance",
    "POST /v2/models/{model_id}/versions/{version}/infer",
]
phases.coverage.enabled = false

# Before the first example of a specification, or one that breaks its schema, is found, half a minute has gone.
[[operations]]
include-name = "POST /v1/jobs"
phases.examples.enabled = false
phases.fuzzing.enabled = false

[[operations]]
exclude-method = "DELETE"
[operations.parameters]
dataset_id = "%s"
job_id = "%s"
model_id = "%s"
checkpoint_id = "%s"
webhook_id = "%s"
delivery_id = "%s"
prediction_id = "%s"
"""


@pytest.fixture(scope="module")
def ids(sqlite_api: Any, iris_csv: bytes) -> tuple[str, ...]:
    """A data set, a finished job, its model, a checkpoint, a webhook: so that requests reach what is behind the ids."""
    dataset = sqlite_api.upload(iris_csv)["id"]
    job = sqlite_api.submit(sqlite_api.spec(dataset))["id"]
    sqlite_api.work(only=job)
    model = sqlite_api.client.get(f"/v1/jobs/{job}").json()["model"]
    checkpoint = sqlite_api.client.get(f"/v1/jobs/{job}/checkpoints").json()["data"][0]["id"]
    webhook = sqlite_api.client.post("/v1/webhooks", json={"url": "https://hooks.example.com"}).json()["id"]
    delivery = sqlite_api.client.post(f"/v1/webhooks/{webhook}/test").json()["id"]
    prediction = sqlite_api.client.post(f"/v1/models/{model}/predictions", json={"dataset": dataset}).json()["id"]
    return dataset, job, model, checkpoint, webhook, delivery, prediction


def document(api: Any) -> str:
    """Where the server's OpenAPI document is."""
    return str(api.client.base_url.join("/openapi.json"))


def run(api: Any, config: str, folder: Path, *options: str) -> None:
    """Run all checks; what fails is printed with the request that shows it."""
    file = folder / "schemathesis.toml"
    file.write_text(config)
    command = [
        *COMMAND,
        "--config-file",
        str(file),
        "run",
        document(api),
        "--seed",
        "1",
        *PATIENCE,
        "--no-color",
        *options,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]


def test_single_requests(sqlite_api: Any, ids: tuple[str, ...], tmp_path: Path) -> None:
    phases = ("--phases", "examples,coverage,fuzzing", "--max-examples", "5")
    # Layers hold layers: many random specifications outgrow what Hypothesis draws, and are dropped; drawing takes long.
    run(sqlite_api, CONFIG + IDS % ids, tmp_path, *phases, "--suppress-health-check", "filter_too_much,too_slow")


def test_chains_of_requests(sqlite_api: Any, tmp_path: Path) -> None:
    run(sqlite_api, CHAINS + CONFIG, tmp_path, "--phases", "stateful", "--max-examples", "12")


def test_any_part_of_a_specification_is_taken_or_refused(sqlite_api: Any, iris_csv: bytes) -> None:
    """One section of a sound specification gives way to a random one that fits the schema."""
    sound = sqlite_api.spec(sqlite_api.upload(iris_csv)["id"])
    operation = schemathesis.openapi.from_url(document(sqlite_api))["/v1/jobs"]["POST"]
    answers = Counter[int]()

    @seed(1)
    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), section=sampled_from(SECTIONS))
    def submit(case: Any, section: str) -> None:
        spec = {**sound, section: case.body[section]} if section in case.body else sound
        for path, body in (("/v1/jobs", spec), ("/v1/networks/validate", {"spec": spec})):
            answer = sqlite_api.client.post(path, json=body)
            answers[answer.status_code] += 1
            assert answer.status_code in (200, 202, 422), (answer.text, body)
            if path == "/v1/jobs":
                operation.validate_response(answer)

    submit()
    assert answers[200] == answers[202] > 10
    assert answers[422]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give every place of a JSON value, as what holds it and its name or number there."""
    for place, inside in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, place
        if isinstance(inside, dict | list):
            yield from places(inside)


def test_anything_anywhere_in_a_specification_is_taken_or_refused(sqlite_api: Any, iris_csv: bytes) -> None:
    """One value of a sound specification gives way to one of any kind."""
    sound = sqlite_api.spec(sqlite_api.upload(iris_csv)["id"])
    count = len(list(places(sound)))
    operation = schemathesis.openapi.from_url(document(sqlite_api))["/v1/jobs"]["POST"]
    answers = Counter[int]()

    @seed(1)
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(which=integers(0, count - 1), value=ANYTHING)
    def submit(which: int, value: Any) -> None:
        spec = copy.deepcopy(sound)
        holder, place = list(places(spec))[which]
        holder[place] = value
        answer = sqlite_api.client.post("/v1/jobs", json=spec)
        answers[answer.status_code] += 1
        assert answer.status_code in (202, 422), (answer.text, spec)
        operation.validate_response(answer)
        if answer.status_code == 422:
            assert all(error["path"] for error in answer.json()["errors"]), (answer.text, spec)

    submit()
    assert answers[422] > 30
