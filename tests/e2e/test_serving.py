"""Predictions from a stack that trains: they wait for no training job, and the stock client finds what it asks for."""

import importlib
import json
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from service.client import Client
from tests.support.real_stack import ROOT, Stack, eventually

WINE: dict[str, Any] = json.loads((ROOT / "examples" / "wine.json").read_text())
PATIENCE = 5.0
"""Far more than a prediction takes, far less than the training job."""


def spec(dataset: str, epochs: int) -> dict[str, Any]:
    data, training = WINE["data"] | {"dataset": dataset}, WINE["training"] | {"epochs": epochs}
    return WINE | {"data": data, "training": training, "regularization": {}}


@pytest.fixture
def model(client: Client) -> str:
    """A trained model, while the only worker trains another one."""
    dataset = client.upload(ROOT / "examples" / "wine.csv")["id"]
    trained = client.wait(client.submit(spec(dataset, 2)).id).model
    assert trained is not None
    return trained


def test_predictions_wait_for_no_training_job(client: Client, model: str, stack: Stack) -> None:
    job = client.submit(spec(client.upload(ROOT / "examples" / "wine.csv")["id"], 1_000_000))
    try:
        assert eventually(lambda: client.job(job.id).progress.epoch > 0)
        waits = []
        for seed in range(20):
            start = time.monotonic()
            assert len(client.predict(model, [[13.0] * 13], seed=seed)["predictions"]) == 1
            waits.append(time.monotonic() - start)
        assert max(waits) < PATIENCE
        assert client.job(job.id).status == "running"
    finally:
        client.cancel(job.id)


def test_the_stock_client_asks_by_an_alias(client: Client, model: str, stack: Stack) -> None:
    triton = importlib.import_module("tritonclient.http")
    assert client.request("PUT", f"/v1/models/{model}/aliases/wine@e2e")["model"] == model
    with triton.InferenceServerClient(urlsplit(stack.url).netloc) as asking:
        assert asking.is_server_ready() and asking.is_model_ready("wine@e2e")
        rows = triton.InferInput("input", [2, 13], "FP32")
        rows.set_data_from_numpy(np.full((2, 13), 13, np.float32))
        found = asking.infer("wine@e2e", [rows], parameters={"seed": 1})
    expected = client.predict("wine@e2e", [[13.0] * 13], seed=1)["predictions"][0]
    assert found.as_numpy("probabilities")[1] == pytest.approx(list(expected["probabilities"].values()), rel=1e-4)
