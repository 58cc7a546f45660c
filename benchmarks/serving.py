"""Predictions over HTTP: ours with 50 Monte-Carlo samples, beside LitServe and a bare FastAPI handler without any.

    python benchmarks/serving.py [--seconds 5] [--rounds 3] [--connections 16]

Everybody serves the same network, 64-128-128-10 with dropout 0.2, from one server process with one thread for torch,
on loopback, one row of JSON a request. Ours answers mean, spread and entropies of 50 thinned networks; the peers run
the network once and answer class probabilities. LitServe brings a second process that runs the network, which is its
design, and is left out where it is not installed. The bare handler is the fewest lines that FastAPI allows, run on the
event loop, which is quicker there than a thread. Ours writes its access log; the peers write none.

The load comes from processes of its own, over kept connections with one request in flight on each, from raw sockets.
The contestants take turns, and the figures are medians of the rounds.
"""

import argparse
import json
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from service.client import Client
from service.programs import end_with
from service.stack import temporary_stack

COLUMNS, UNITS, CLASSES, SAMPLES = 64, 128, 10, 50
ROW = [round(0.37 * i % 2 - 1, 3) for i in range(COLUMNS)]
GENERATORS = 1
"""Processes that make the load, so that none of them is what is measured."""
PEERS = Path(__file__).parent / "peers"
START_SECONDS = 60.0
STOP_SECONDS = 5.0
WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Contestant:
    """Where somebody listens, and the bytes of a request."""

    name: str
    port: int
    request: bytes


def request(path: str, body: dict[str, Any]) -> bytes:
    """Return a POST as it goes over the wire."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    return head.encode() + b"\r\n\r\n" + content


@contextmanager
def ours() -> Iterator[Contestant]:
    """Run Trainyard as a user does, and train the network for one epoch."""
    lines = [",".join([*(f"c{i}" for i in range(COLUMNS)), "target"])]
    lines += [
        ",".join([*(f"{value + 0.01 * row:.3f}" for value in ROW), f"class_{row % CLASSES}"]) for row in range(200)
    ]
    dense, dropout = {"type": "dense", "units": UNITS, "activation": "relu"}, {"type": "dropout", "rate": 0.2}
    with temporary_stack() as (url, home), Client(url) as client:
        (home / "data.csv").write_text("\n".join(lines))
        spec = {
            "network": {"layers": [dense, dropout, dense, dropout, {"type": "dense", "units": "auto"}]},
            "loss": "cross_entropy",
            "data": {"dataset": client.upload(home / "data.csv")["id"], "target": "target"},
            "training": {"epochs": 1},
        }
        model = client.wait(client.submit(spec).id).model
        body = {"rows": [ROW], "mc_samples": SAMPLES}
        yield Contestant(
            f"ours, {SAMPLES} samples", urlsplit(url).port or 0, request(f"/v1/models/{model}/predict", body)
        )


@contextmanager
def peer(name: str, title: str) -> Iterator[Contestant]:
    """Run a peer in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(PEERS / f"{name}.py"), str(port)]
    # A session of its own, as ours has: on a busy machine Linux may divide the processors by session.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with(os.getpid())
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not come up")
            time.sleep(0.1)
        yield Contestant(title, port, request("/predict", {"rows": [ROW]}))
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # LitServe leaves processes of its own behind
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def load(contestant: Contestant, connections: int, seconds: float) -> list[float]:
    """Keep one request in flight on every connection; return the latency of each, in seconds.

    Raises:
        SystemExit: An answer was not 200.
    """
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for _ in range(connections):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", contestant.port)))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ, [time.perf_counter(), b""])
            connection.sendall(contestant.request)
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            for key, _ in selector.select(1.0):
                connection, state = cast(socket.socket, key.fileobj), key.data
                state[1] += connection.recv(65536)
                if _complete(state[1]):
                    now = time.perf_counter()
                    latencies.append(now - state[0])
                    state[:] = [now, b""]
                    connection.sendall(contestant.request)
    return latencies


def _complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    if b" 200 " not in head[:20]:
        raise SystemExit(f"the answer was {answer[:300]!r}")
    _, _, length = head.lower().partition(b"content-length: ")
    return len(body) >= int(length.partition(b"\r\n")[0])


@dataclass(frozen=True)
class Result:
    """What one round found."""

    rate: float
    median_ms: float
    p99_ms: float


def one_round(contestant: Contestant, connections: int, seconds: float) -> Result:
    """Put load on a contestant from several processes."""
    share = connections // GENERATORS
    with get_context("spawn").Pool(GENERATORS) as pool:
        pool.starmap(load, [(contestant, share, WARM_UP_SECONDS)] * GENERATORS)
        found = pool.starmap(load, [(contestant, share, seconds)] * GENERATORS)
    latencies = sorted(latency for part in found for latency in part)
    return Result(
        len(latencies) / seconds, 1000 * statistics.median(latencies), 1000 * latencies[int(0.99 * len(latencies))]
    )


def main() -> None:
    """Measure everybody in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds behind each median")
    parser.add_argument("--connections", type=int, default=16, help="connections, divided among two load generators")
    chosen = parser.parse_args()
    results: dict[str, list[Result]] = {}
    with ExitStack() as stack:
        contestants = [stack.enter_context(ours()), stack.enter_context(peer("bare", "bare FastAPI handler"))]
        if find_spec("litserve"):
            contestants.append(stack.enter_context(peer("with_litserve", "LitServe")))
        else:
            print("LitServe is not installed, so it is left out.")
        for _ in range(chosen.rounds):
            for contestant in contestants:
                found = one_round(contestant, chosen.connections, chosen.seconds)
                results.setdefault(contestant.name, []).append(found)
    report(results, chosen.connections)


def report(results: dict[str, list[Result]], connections: int) -> None:
    """Print the medians, and how many times as fast as each peer we are."""
    title = f"{connections} connections, one row a request"
    print(f"{title:<38} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8}   ours / it")
    rates = {name: statistics.median(result.rate for result in rounds) for name, rounds in results.items()}
    mine, *_ = rates.values()
    for name, rounds in results.items():
        median, p99 = (
            statistics.median(getattr(result, field) for result in rounds) for field in ("median_ms", "p99_ms")
        )
        print(f"{name:<38} {rates[name]:>11,.0f} {median:>8.2f} {p99:>8.2f}   {mine / rates[name]:.2f}x")


if __name__ == "__main__":
    main()
