"""Memory does not grow with the file: profiled in a process of its own, whose peak is looked at."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

MIB = 1 << 20
GROWTH = 100 * MIB
"""What one upload may add to a server's memory."""

PROFILE = """
import os, resource, sys
from pathlib import Path
from service.data.formats import Limits, profile_file
from service.settings import Settings
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
profile = profile_file(Path(sys.argv[1]), sys.argv[2], Limits.of(Settings()))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(profile.rows, (after - before) * unit)
"""


def grown(path: Path) -> tuple[int, int]:
    """Return the rows of a file, and the bytes by which profiling it raised the peak of a fresh process."""
    command = [sys.executable, "-c", PROFILE, str(path), path.suffix[1:]]
    rows, growth = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout.split()
    return int(rows), int(growth)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    """Three million cells of every kind, with quotes, gaps and long text."""
    random, rows = np.random.default_rng(0), 250_000
    words = np.array(["a category, in quotes, that is long", "another category of some length", ""])
    return pl.DataFrame(
        {f"x{i}": random.normal(size=rows) for i in range(8)}
        | {f"i{i}": random.integers(0, 10**i, rows) for i in range(2, 6)}
        | {"c": words[random.integers(0, 3, rows)], "y": random.integers(0, 2, rows) == 1}
    )


def test_parquet(table: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pl.concat([table] * 8).write_parquet(path, row_group_size=10**7, compression="uncompressed")
    assert path.stat().st_size > GROWTH
    rows, growth = grown(path)
    assert rows == 8 * table.height
    assert growth < GROWTH


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.zeros((30_000, 28, 28)), y=np.arange(30_000) % 10)
    rows, growth = grown(path)
    assert rows == 30_000
    assert growth < GROWTH


BATCHES = """
import resource, sys
from pathlib import Path
from service.data.formats import Limits, profile_file, read_batches
from service.settings import Settings
unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
path, kind = Path(sys.argv[1]), sys.argv[2]
before = peak()
profile = profile_file(path, kind, Limits.of(Settings()))
profiling = peak() - before
next(iter(read_batches(path, kind, profile.columns, profile.columns, 8192)))
before = peak()
rows = sum(len(frame["x0"].values) for frame in read_batches(path, kind, profile.columns, profile.columns, 8192))
print(profile.rows, rows, profiling, peak() - before)
"""


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_a_profile_and_then_batches_of_rows(kind: str, table: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / f"data.{kind}"
    if kind == "csv":
        with path.open("wb") as file:
            for part in range(3):
                table.write_csv(file, include_header=not part)
        assert path.stat().st_size > 1.4 * GROWTH
    elif kind == "parquet":
        pl.concat([table] * 3).write_parquet(path, row_group_size=50_000, compression="uncompressed")
    else:
        np.savez(path, **{f"x{i}": np.zeros((3 * table.height, 8)) for i in range(4)})
    command = [sys.executable, "-c", BATCHES, str(path), kind]
    said = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
    profiled, rows, profiling, reading = map(int, said.split())
    assert profiled == rows == 3 * table.height
    assert profiling < GROWTH and reading < GROWTH
