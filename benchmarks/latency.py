"""How long the service takes to accept a job, and to store the first metric of a tiny one, beside the same work alone.

    python benchmarks/latency.py [--jobs 40]

Starts `trainyard up` in a temporary folder, on a free port, with one warm worker. "accepted" is a POST of a job over
a kept connection, from the first byte sent to the last received, while no job runs. "first metric" is the time from
sending the POST until a reader of the store sees the first value. The peer is what nobody can go below: the same
network trained for the same epoch by a hand-written PyTorch loop in this process, without a service around it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import torch
from torch import nn

from service.client import Client
from service.stack import temporary_stack
from service.store import metrics
from service.store.engine import Store, open_store

ROOT = Path(__file__).parents[1]
SPEC: dict[str, Any] = json.loads((ROOT / "examples" / "wine.json").read_text())
PATIENCE = 30.0


def spec(dataset: str, seed: int) -> bytes:
    """Return a tiny job: one epoch of the wine example."""
    data, training = SPEC["data"] | {"dataset": dataset}, SPEC["training"] | {"epochs": 1, "seed": seed}
    return json.dumps(SPEC | {"data": data, "training": training}).encode()


def one_job(http: httpx.Client, store: Store, dataset: str, seed: int) -> tuple[float, float]:
    """Submit a job and wait for its first metric and its end; return both times in milliseconds."""
    body = spec(dataset, seed)
    start = time.perf_counter()
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    accepted = time.perf_counter() - start
    job = answer.raise_for_status().json()["id"]
    while not _measured(store, job):
        if time.perf_counter() - start > PATIENCE:
            raise SystemExit(f"job {job} stored no metric in {PATIENCE} s")
        time.sleep(0.002)
    first = time.perf_counter() - start
    while http.get(f"/v1/jobs/{job}").json()["status"] != "succeeded":
        time.sleep(0.01)
    return accepted * 1000, first * 1000


def _measured(store: Store, job: str) -> bool:
    with store.read() as session:
        return bool(metrics.names(session, job))


def by_hand() -> float:
    """Train the same network for an epoch in plain PyTorch; return milliseconds."""
    x, y = torch.randn(133, 13), torch.randint(0, 3, (133,))
    start = time.perf_counter()
    network = nn.Sequential(nn.Linear(13, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 3))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.003, fused=True)
    for at in range(0, len(x), 16):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(x[at : at + 16]), y[at : at + 16]))
        optimizer.step()
    return (time.perf_counter() - start) * 1000


def line(name: str, values: Sequence[float], limit: str = "") -> str:
    """Return median, ninth decile and worst of some times."""
    ordered = sorted(values)
    worse = ordered[int(0.9 * (len(ordered) - 1))]
    return f"{name:<34} {statistics.median(ordered):9.1f} {worse:9.1f} {ordered[-1]:9.1f}   {limit}"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=40, help="jobs to submit, one after the other")
    count = parser.parse_args().jobs
    torch.set_num_threads(1)
    with temporary_stack() as (url, home), Client(url) as client, httpx.Client(base_url=url, timeout=PATIENCE) as http:
        store = open_store(f"sqlite:///{home / 'trainyard.db'}")
        dataset = client.upload(ROOT / "examples" / "wine.csv")["id"]
        one_job(http, store, dataset, seed=10_000)  # the first of its kind warms server and worker
        times = [(*one_job(http, store, dataset, seed), by_hand()) for seed in range(count)]
        store.dispose()
    accepted, first, alone = zip(*times, strict=True)
    print(f"{count} jobs, milliseconds{'':<13} {'median':>9} {'90 %':>9} {'worst':>9}")
    print(line("POST /v1/jobs answered", accepted, "aim: median below 20"))
    print(line("first metric stored", first, "aim: below 500"))
    print(line("the same epoch by hand, no service", alone))


if __name__ == "__main__":
    main()
