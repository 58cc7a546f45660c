"""Whole files through a real stack: in memory that does not grow with them, and never behind a training job."""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from service.client import Client
from tests.support.real_stack import ROOT, Stack, eventually

WINE: dict[str, Any] = json.loads((ROOT / "examples" / "wine.json").read_text())
TABLE = pl.read_csv(ROOT / "examples" / "wine.csv")
ROWS = 200_000
MOST_MIB = 100.0
"""What the memory of the server may grow by; body and answer together are far larger."""
PARQUET, LINES = "application/vnd.apache.parquet", "application/x-ndjson"


def spec(dataset: str, epochs: int) -> dict[str, Any]:
    data, training = WINE["data"] | {"dataset": dataset}, WINE["training"] | {"epochs": epochs}
    return WINE | {"data": data, "training": training, "regularization": {}}


@pytest.fixture(scope="module")
def model(stack: Stack) -> str:
    with Client(stack.url) as client:
        dataset = client.upload(ROOT / "examples" / "wine.csv")["id"]
        found = client.wait(client.submit(spec(dataset, 2)).id).model
    assert found is not None
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many wines, each a little different, as one row group of Parquet with a wide column that the model ignores."""
    source = np.random.Generator(np.random.Philox(1))
    chosen = TABLE[source.integers(0, len(TABLE), ROWS)]
    columns = [chosen[name].cast(pl.Float64) + source.normal(size=ROWS) / 100 for name in TABLE.columns[:-1]]
    path = tmp_path_factory.mktemp("large") / "rows.parquet"
    pl.DataFrame([*columns, pl.Series("ignored", [f"{i:0400d}" for i in range(ROWS)])]).write_parquet(
        path, row_group_size=ROWS, compression="uncompressed"
    )
    return path


def peak(pid: int) -> float:
    """The most memory that a process has taken since it was last asked to forget it, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


def streamed(url: str, path: Path, accept: str, take: Callable[[bytes], object], **query: Any) -> None:
    headers = {"Content-Type": PARQUET, "Accept": accept}
    with httpx.stream("POST", url, content=pieces(path), headers=headers, params=query, timeout=600) as answer:
        assert answer.status_code == 200, answer.read()
        for piece in answer.iter_bytes():
            take(piece)


def test_a_large_file_passes_in_memory_that_does_not_grow(stack: Stack, model: str, large: Path) -> None:
    (server,) = stack.pids("server")
    url = f"{stack.url}/v1/models/{model}/predict"
    small = large.with_name("small.parquet")
    pl.scan_parquet(large).head(20_000).collect().write_parquet(small)
    for accept in (LINES, PARQUET):
        streamed(url, small, accept, lambda piece: None, mc_samples=2)  # what is loaded once, whatever the size
    for accept in (LINES, PARQUET):
        forget_peak(server)
        before, out = peak(server), io.BytesIO()
        streamed(url, large, accept, out.write, mc_samples=2, seed=1)
        grown = peak(server) - before
        passed = (large.stat().st_size + out.tell()) / 2**20
        assert grown < MOST_MIB, f"{grown:.0f} MiB for {passed:.0f} MiB"
        rows = pl.read_ndjson(out.getvalue()).height if accept == LINES else pl.read_parquet(out.getvalue()).height
        assert rows == ROWS
        assert passed > MOST_MIB * (1.5 if accept == LINES else 0.9)


def test_requests_of_few_rows_are_answered_meanwhile(stack: Stack, model: str, large: Path) -> None:
    with Client(stack.url) as client, httpx.Client(timeout=600) as other:
        headers = {"Content-Type": PARQUET, "Accept": LINES}
        url = f"{stack.url}/v1/models/{model}/predict"
        with other.stream("POST", url, content=pieces(large), headers=headers, params={"mc_samples": 50}) as answer:
            lines = answer.iter_lines()
            next(lines)
            waits = []
            for seed in range(20):
                start = time.monotonic()
                client.predict(model, [[13.0] * 13], seed=seed)
                waits.append(time.monotonic() - start)
                next(lines)
            assert max(waits) < 5.0
        # The client has left in the middle: the server has a place for the next one.
        assert eventually(lambda: not list((stack.home / "uploads").iterdir()))


def test_a_queued_prediction_waits_for_no_training_job(stack: Stack, model: str) -> None:
    with Client(stack.url) as client:
        dataset = client.upload(ROOT / "examples" / "wine.csv")["id"]
        job = client.submit(spec(dataset, 1_000_000))
        try:
            assert eventually(lambda: client.job(job.id).progress.epoch > 0)
            body = {"dataset": dataset, "mc_samples": 10}
            row = client.request("POST", f"/v1/models/{model}/predictions", json=body)
            url = f"/v1/predictions/{row['id']}"
            assert eventually(lambda: client.request("GET", url)["status"] == "succeeded", 30)
            assert client.job(job.id).status == "running"
        finally:
            client.cancel(job.id)
    answer = httpx.get(f"{stack.url}{url}/result?format=csv")
    assert len(answer.text.splitlines()) == 1 + len(TABLE)


@pytest.mark.parametrize("section", ["Whole files", "Later"])
def test_the_commands_of_the_documentation_do_what_it_says(
    stack: Stack, model: str, tmp_path: Path, section: str
) -> None:
    text = (ROOT / "docs" / "serving.md").read_text()
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    TABLE.write_parquet(tmp_path / "wine-rows.parquet")
    head = f'set -e\nURL={stack.url} MODEL={model}\ntrainyard() {{ {sys.executable} -m service.cli "$@"; }}\n'
    environment = os.environ | {"TRAINYARD_URL": stack.url, "PYTHONPATH": str(ROOT)}
    script = ["bash", "-c", head + commands]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in re.findall(r"-o (\S+)", commands):
        path = tmp_path / name
        if name.endswith(".parquet"):
            assert pl.read_parquet(path).height == len(TABLE)
        elif name.endswith(".json"):
            assert json.loads(path.read_text())["status"] == "queued"
        else:
            assert len(path.read_text().splitlines()) == len(TABLE) + name.endswith(".csv")
