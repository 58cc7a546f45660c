"""A file of a million rows through a real server: rows a second, and what the server's memory grows by.

`python benchmarks/streaming.py [ROWS] [SAMPLES]`. Everything runs on this machine, this client beside the server.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import polars as pl

from service.client import Client
from service.stack import temporary_stack

EXAMPLES = Path(__file__).parents[1] / "examples"
TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv", "ndjson": "application/x-ndjson"}
PATHS = (("parquet", "ndjson"), ("parquet", "parquet"), ("csv", "csv"), ("ndjson", "ndjson"))
MIB = 2**20


def make(folder: Path, rows: int) -> dict[str, Path]:
    """Write many wines, each a little different, in every format."""
    source = np.random.Generator(np.random.Philox(1))
    wines = pl.read_csv(EXAMPLES / "wine.csv")
    chosen = wines[source.integers(0, len(wines), rows)]
    numbers = [chosen[name].cast(pl.Float64) + source.normal(size=rows) / 100 for name in wines.columns[:-1]]
    table, files = pl.DataFrame(numbers), {name: folder / f"rows.{name}" for name in TYPES}
    table.write_parquet(files["parquet"])
    table.write_csv(files["csv"])
    table.write_ndjson(files["ndjson"])
    return files


def train(client: Client) -> str:
    """Return a model of the wines."""
    spec = json.loads((EXAMPLES / "wine.json").read_text())
    spec["data"]["dataset"] = client.upload(EXAMPLES / "wine.csv")["id"]
    spec["training"]["epochs"] = 5
    model = client.wait(client.submit(spec).id).model
    assert model is not None
    return model


def process_of(port: int | None) -> int:
    """Return the number of the process that serves at a port."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"service.api.app:serve" in words and str(port).encode() in words:
                return int(place.name)
    raise LookupError(f"nobody serves at port {port}")


def peak(pid: int) -> float:
    """Return the most memory that a process has taken since it was asked to forget it, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def pieces(path: Path) -> Iterator[bytes]:
    """Yield a file."""
    with path.open("rb") as file:
        while piece := file.read(MIB):
            yield piece


def measure(url: str, pid: int, file: Path, kind: str, answer: str, rows: int, samples: int) -> None:
    """Send a file, take the answer, and print what came of it."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before, began, size = peak(pid), time.monotonic(), 0
    headers = {"Content-Type": TYPES[kind], "Accept": TYPES[answer]}
    query = {"mc_samples": samples, "seed": 1}
    with httpx.stream("POST", url, params=query, headers=headers, content=pieces(file), timeout=3600) as response:
        response.raise_for_status()
        first = time.monotonic() - began
        for piece in response.iter_bytes():
            size += len(piece)
    seconds = time.monotonic() - began
    print(
        f"{kind:>7} {file.stat().st_size / MIB:5.0f} MiB -> {answer:<7} {size / MIB:5.0f} MiB: "
        f"{rows / seconds:8,.0f} rows/s, headers after {first:.1f} s, "
        f"memory + {peak(pid) - before:.0f} MiB on {before:.0f}"
    )


def main(rows: int = 1_000_000, samples: int = 50) -> None:
    """Measure every way through."""
    with tempfile.TemporaryDirectory() as folder, temporary_stack() as (url, _), Client(url) as client:
        files, model = make(Path(folder), rows), train(client)
        server = process_of(urlsplit(url).port)
        print(f"{rows:,} rows, {samples} samples a row")
        for kind, answer in PATHS:
            measure(f"{url}/v1/models/{model}/predict", server, files[kind], kind, answer, rows, samples)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
