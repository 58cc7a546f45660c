"""What training promises: the same bits again, commands that are heeded, failures that explain themselves."""

import json
import os
import signal
from pathlib import Path

import pytest

from service.client import Client, Json
from tests.support.real_stack import Stack, eventually

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def dataset(stack: Stack) -> str:
    """The wines, uploaded."""
    with Client(stack.url) as client:
        return str(client.upload(EXAMPLES / "wine.csv")["id"])


def wine(dataset: str, **training: object) -> Json:
    """The example's specification, with other values in its `training`."""
    spec: Json = json.loads((EXAMPLES / "wine.json").read_text())
    return spec | {"data": spec["data"] | {"dataset": dataset}, "training": spec["training"] | training}


def weights(client: Client, job: str) -> str:
    """The hash of the weights that a job ended with."""
    done = client.wait(job)
    assert done.status == "succeeded", done.error
    assert done.model is not None
    return str(client.model(done.model)["weights_sha256"])


def test_the_same_specification_gives_the_same_bits(client: Client, dataset: str) -> None:
    first, second = (client.submit(wine(dataset)).id for _ in range(2))
    other = client.submit(wine(dataset, seed=1)).id
    assert weights(client, first) == weights(client, second) != weights(client, other)
    receipt = client.job(first).receipt
    assert receipt is not None
    assert receipt["weights_sha256"] == weights(client, first)
    assert receipt["seed"] == 0


def test_a_killed_run_ends_with_the_same_bits(stack: Stack, client: Client, dataset: str) -> None:
    spec = wine(dataset, epochs=400, checkpoint_seconds=0.1)
    undisturbed = client.submit(spec).id
    expected = weights(client, undisturbed)
    points = len(client.metrics(undisturbed, name="loss", split="train"))

    job = client.submit(spec).id
    assert eventually(lambda: client.request("GET", f"/v1/jobs/{job}/checkpoints")["data"])
    os.kill(stack.worker_child(), signal.SIGKILL)
    assert weights(client, job) == expected
    assert client.job(job).attempt == 2
    assert len(client.metrics(job, name="loss", split="train")) == points
    events = [event["type"] for event in client.request("GET", f"/v1/jobs/{job}/events")["data"]]
    assert "lost" in events


def test_a_worker_that_dies_is_replaced_and_its_job_goes_on(stack: Stack, client: Client, dataset: str) -> None:
    spec = wine(dataset, epochs=400, checkpoint_seconds=0.1)
    job = client.submit(spec).id
    assert eventually(lambda: client.job(job).progress.epoch > 0)
    worker = stack.pids("worker")[0]
    os.kill(worker, signal.SIGKILL)
    assert client.wait(job).status == "succeeded"
    assert client.job(job).attempt == 2
    assert worker not in stack.pids("worker")
    assert "worker was killed by SIGKILL; starting it again" in stack.said


def test_a_running_job_is_cancelled(client: Client, dataset: str) -> None:
    job = client.submit(wine(dataset, epochs=1_000_000)).id
    assert eventually(lambda: client.job(job).status == "running")
    assert client.cancel(job).status in ("cancelling", "cancelled")
    assert client.wait(job).status == "cancelled"
    assert client.job(job).model is None


def test_a_loss_that_is_no_number_ends_the_job_and_names_the_step(client: Client, dataset: str) -> None:
    spec = wine(dataset) | {"optimizer": {"type": "sgd", "learning_rate": 1e6}}
    job = client.wait(client.submit(spec).id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "non_finite_loss"
    assert "step" in job.error.message
    assert any(character.isdigit() for character in job.error.message)
