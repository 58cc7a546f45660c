"""Transfer learning through HTTP: the digits below five are learned first, all of them with what came of that."""

import io
import os
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest
import safetensors.torch
import torch

from service.client import Client, Json
from tests.support.real_stack import Stack, eventually

EXAMPLES = Path(__file__).parents[2] / "examples"
LAYERS: list[Json] = [
    {"type": "conv2d", "name": "first", "filters": 8, "kernel_size": 3, "activation": "relu"},
    {"type": "batch_norm", "name": "norm"},
    {"type": "conv2d", "name": "second", "filters": 16, "kernel_size": 3, "activation": "relu"},
    {"type": "flatten"},
    {"type": "dropout", "rate": 0.2},
    {"type": "dense", "units": "auto"},
]
HEAD: list[Json] = [{"type": "dense", "units": 32, "activation": "relu"}, {"type": "dense", "units": "auto"}]


@pytest.fixture(scope="module")
def datasets(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The digits below five, and all of them."""
    folder = tmp_path_factory.mktemp("digits")
    with np.load(EXAMPLES / "digits.npz") as data:
        few = data["y"] < 5
        np.savez(folder / "few.npz", x=data["x"][few], y=data["y"][few])
    with Client(stack.url) as client:
        return client.upload(folder / "few.npz")["id"], client.upload(EXAMPLES / "digits.npz")["id"]


def spec(dataset: str, layers: list[Json], **training: object) -> Json:
    return {
        "network": {"layers": layers},
        "loss": "cross_entropy",
        "optimizer": {"type": "adamw", "learning_rate": 0.003, "weight_decay": 0.1},
        "data": {"dataset": dataset, "target": "y", "preprocessing": "min_max"},
        "training": {"epochs": 4, **training},
    }


def trained(client: Client, value: Json) -> str:
    """Train, and return the id of the model."""
    job = client.wait(client.submit(value).id)
    assert job.status == "succeeded" and job.model, job.error
    return job.model


def weights(stack: Stack, model: str) -> dict[str, torch.Tensor]:
    answer = httpx.get(f"{stack.url}/v1/models/{model}/weights", trust_env=False)
    return safetensors.torch.load(answer.content)


@pytest.fixture(scope="module")
def source(stack: Stack, datasets: tuple[str, str]) -> str:
    """A model of the digits below five."""
    with Client(stack.url) as client:
        return trained(client, spec(datasets[0], LAYERS))


def test_frozen_layers_are_those_of_the_source_and_a_new_head_learns_all_digits(
    stack: Stack, client: Client, datasets: tuple[str, str], source: str
) -> None:
    block = {"type": "pretrained", "source": source, "until": "flatten_3", "trainable": False}
    model = trained(client, spec(datasets[1], [block, *HEAD]))
    before, after = weights(stack, source), weights(stack, model)
    kept = {name: value for name, value in after.items() if "pretrained_0" in name}
    assert len(kept) == 2 + 5 + 2
    for name, value in kept.items():
        assert torch.equal(value, before[name.removeprefix("layers.pretrained_0.")]), name
    assert client.model(model)["metrics"]["validation"]["accuracy"] > 0.9
    assert client.model(model)["classes"] == list(range(10))


def test_a_killed_run_that_unfreezes_ends_with_the_same_bits_though_its_source_is_gone(
    stack: Stack, client: Client, datasets: tuple[str, str]
) -> None:
    source = trained(client, spec(datasets[0], LAYERS, seed=3))
    block = {"type": "pretrained", "source": source, "until": "second", "trainable": False, "unfreeze_at_epoch": 10}
    layers = [{**block, "learning_rate_factor": 0.1}, {"type": "flatten"}, *HEAD]
    value = spec(datasets[1], layers, epochs=20, checkpoint_seconds=0.1)
    undisturbed, job = (client.submit(value).id for _ in range(2))
    client.request("DELETE", f"/v1/models/{source}")
    done = client.wait(undisturbed)
    assert done.status == "succeeded", done.error
    assert eventually(lambda: client.job(job).progress.epoch > 2)
    os.kill(stack.worker_child(), signal.SIGKILL)
    again = client.wait(job)
    assert again.status == "succeeded" and again.attempt == 2, again.error
    assert again.receipt is not None and done.receipt is not None
    assert again.receipt["weights_sha256"] == done.receipt["weights_sha256"]


def test_weights_of_another_program_are_imported_and_started_from(
    stack: Stack, client: Client, datasets: tuple[str, str]
) -> None:
    file = io.BytesIO(
        safetensors.torch.save({"encoder.0.weight": torch.rand(8, 1, 3, 3), "encoder.0.bias": torch.rand(8)})
    )
    stored = client.request("POST", "/v1/weights", params={"name": "encoder"}, content=file.getvalue())
    block = {
        "type": "pretrained",
        "source": stored["id"],
        "rename": {"encoder.0": "first"},
        "layers": [LAYERS[0]],
        "trainable": False,
    }
    value = spec(datasets[1], [block, {"type": "flatten"}, *HEAD], epochs=1)
    first = trained(client, value)
    after = weights(stack, first)
    given = safetensors.torch.load(file.getvalue())
    assert torch.equal(after["layers.pretrained_0.layers.first.kernel.weight"], given["encoder.0.weight"])
    client.request("DELETE", f"/v1/weights/{stored['id']}")
    rows = [{"x": row} for row in np.load(EXAMPLES / "digits.npz")["x"][:2].tolist()]
    assert len(client.predict(first, rows, mc_samples=2)["predictions"]) == 2
