"""Webhooks of the whole stack: told in order of a job that is really trained, beside receivers that are no good."""

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from service.client import Client
from tests.support.real_stack import ROOT, Stack, eventually
from tests.support.receiver import Message, Receiver, receiving

JOB: dict[str, Any] = {
    "network": {"layers": [{"type": "dense", "units": 8}, {"type": "dense", "units": "auto"}]},
    "loss": "cross_entropy",
    "data": {"target": "cultivar", "preprocessing": "standardize"},
    "training": {"epochs": 3},
}


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    with receiving() as found:
        yield found


def spec(client: Client, **training: Any) -> dict[str, Any]:
    dataset = client.upload(ROOT / "examples" / "wine.csv")["id"]
    return JOB | {"data": {**JOB["data"], "dataset": dataset}, "training": {**JOB["training"], **training}}


def told(receiver: Receiver, path: str) -> list[Message]:
    return [message for message in receiver.messages if message.path == path]


def names(messages: list[Message]) -> list[str]:
    return [message.json["type"].removeprefix("job.") for message in messages]


def test_a_job_trained_end_to_end_is_told_in_order(client: Client, receiver: tuple[Receiver, str]) -> None:
    took, url = receiver
    took.answers = [500]  # the first message has to be sent again
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and takes no connection
        make = [f"{url}/good", f"{url}/hang", f"http://127.0.0.1:{nobody.getsockname()[1]}/"]
        hooks = [client.request("POST", "/v1/webhooks", json={"url": each}) for each in make]
        job = client.wait(client.submit(spec(client)).id)
        assert job.status == "succeeded"

        def good() -> list[Message]:
            return [message for message in told(took, "/good") if message.json["data"]["job"] == job.id]

        assert eventually(lambda: names(good())[-1:] == ["succeeded"])
        assert list(dict.fromkeys(names(good()))) == ["queued", "running", "succeeded"]
        assert len({message.id for message in good()}) == 3
        assert all(message.is_signed_with(hooks[0]["secret"]) for message in good())
        assert good()[-1].json["data"]["model"] == job.model
        assert len(told(took, "/hang")) >= 1
        deliveries = client.request("GET", f"/v1/webhooks/{hooks[2]['id']}/deliveries")["data"]
        assert {delivery["state"] for delivery in deliveries} == {"pending"}
        assert "refused" in deliveries[-1]["last_error"]
        for hook in hooks:
            client.request("DELETE", f"/v1/webhooks/{hook['id']}")


def test_a_worker_that_dies_is_told(stack: Stack, client: Client, receiver: tuple[Receiver, str]) -> None:
    took, url = receiver
    job = client.submit(spec(client, epochs=1_000_000)).id
    hook = client.request("POST", "/v1/webhooks", json={"url": f"{url}/one", "job": job})["id"]
    assert eventually(lambda: client.job(job).progress.epoch > 0)
    os.kill(stack.worker_child(), signal.SIGKILL)
    assert eventually(lambda: names(told(took, "/one"))[-3:] == ["lost", "queued", "running"])
    client.command(job, "cancel")
    assert eventually(lambda: names(told(took, "/one"))[-1] == "cancelled")
    client.request("DELETE", f"/v1/webhooks/{hook}")
