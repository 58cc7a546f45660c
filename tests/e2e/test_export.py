"""Models out and in over a whole stack: the page about it, typed as it stands there, and what comes of the files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import safetensors.torch
import torch

from service.client import Client, Json
from tests.support.real_stack import ROOT, Stack

PAGE = (ROOT / "docs" / "export.md").read_text()
SECONDS = 600.0
DIGITS = ROOT / "examples" / "digits.npz"
LAYERS: list[Json] = [
    {"type": "conv2d", "name": "first", "filters": 8, "kernel_size": 3, "activation": "relu"},
    {"type": "batch_norm"},
    {"type": "flatten"},
    {"type": "dropout", "rate": 0.2},
    {"type": "dense", "units": "auto"},
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_page_does_what_it_says(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TRAINYARD_URL": stack.url,
        "PYTHONWARNINGS": "error",
    }
    scripts = [
        ["bash", "-c", "set -euo pipefail\n" + text.replace("http://127.0.0.1:8000", stack.url)]
        for text in blocks("sh")
    ]
    # Each with names of its own, in one process: they spend most of their time with the same imports.
    run = "import sys\nfor text in sys.argv[1:]:\n    exec(text, {'__name__': '__main__'})"
    programs = [sys.executable, "-c", run, *blocks("python")]
    said = []
    for command in (*scripts, programs):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    assert "held against the service: rows=32" in said[0]
    assert "predict with: trainyard predict mdl_" in said[0]
    assert said[1].startswith("# wine, again\n") and "It was imported" in said[1]
    assert {path.name for path in tmp_path.iterdir()} == {
        "examples", "wine.safetensors", "wine.onnx", "wine-samples.onnx", "wine.pt2",
    }  # fmt: skip


@pytest.fixture(scope="module")
def model(stack: Stack) -> str:
    """A network of convolutions that reads images as they are."""
    with Client(stack.url) as client:
        spec = {
            "network": {"layers": LAYERS},
            "loss": "cross_entropy",
            "data": {"dataset": client.upload(DIGITS)["id"], "target": "y", "preprocessing": "min_max"},
            "training": {"epochs": 2},
        }
        job = client.wait(client.submit(spec).id)
        assert job.status == "succeeded" and job.model, job.error
        return job.model


def exported(stack: Stack, model: str) -> bytes:
    answer = httpx.get(f"{stack.url}/v1/models/{model}/export", timeout=SECONDS, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.content


def test_an_imported_model_predicts_and_is_trained_on(stack: Stack, client: Client, model: str) -> None:
    data = exported(stack, model)
    answer = httpx.post(f"{stack.url}/v1/models", content=data, timeout=SECONDS, trust_env=False)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert found["job"] is None and found["weights_sha256"] == client.model(model)["weights_sha256"]
    rows = [{"x": image} for image in np.load(DIGITS)["x"][:20].tolist()]
    assert client.predict(found["id"], rows, seed=3) == client.predict(model, rows, seed=3)
    block = {"type": "pretrained", "source": found["id"], "until": "first", "trainable": False}
    data_section = client.model(model)["spec"]["data"]
    job = client.submit(
        {
            "network": {"layers": [block, {"type": "flatten"}, {"type": "dense", "units": "auto"}]},
            "loss": "cross_entropy",
            "data": {name: data_section[name] for name in ("dataset", "target")},
            "training": {"epochs": 1},
        }
    )
    client.request("DELETE", f"/v1/models/{found['id']}")
    done = client.wait(job.id)
    assert done.status == "succeeded" and done.model, done.error
    weights = safetensors.torch.load(data)["layers.first.kernel.weight"]
    tuned = safetensors.torch.load(exported(stack, done.model))
    assert torch.equal(tuned["layers.pretrained_0.layers.first.kernel.weight"], weights)
