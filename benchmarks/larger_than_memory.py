"""Training on a data set that is larger than the memory of its worker, and how fast, beside training in memory.

    python benchmarks/larger_than_memory.py [--gigabytes 4] [--limit 2] [--epochs 2]

Starts `trainyard up` in a temporary folder, uploads images of bytes by HTTP as one NPZ file, and trains a small network
on them in a worker that is held to the limit: where the system lets this program make control groups (Linux, root),
by one in which the worker's processes and the pages of their files are; else only by `TRAINYARD_MAX_TRAINING_BYTES`,
and what the processes hold is looked at. Room on the disk: four times the data.

Then a data set that fits is trained in memory and, by another worker, streamed: what the way through a file costs.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from service.client import Client
from service.memory import GIB, MIB
from service.stack import temporary_stack

SIDE, CHANNELS, CLASSES = 32, 3, 10
ROW_BYTES = SIDE * SIDE * CHANNELS
PIECE = 10_000
GROUPS = Path("/sys/fs/cgroup")
LOOK_SECONDS = 0.02


def write_images(path: Path, rows: int) -> None:
    """Write images [rows, 32, 32, 3] that are brighter the higher their class, and the classes."""
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in (("x", (rows, SIDE, SIDE, CHANNELS)), ("y", (rows,))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                head = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(file, head)
                for start in range(0, rows, PIECE):
                    y = (np.arange(start, min(rows, start + PIECE)) % CLASSES).astype(np.uint8)
                    if name == "y":
                        file.write(y.data)
                        continue
                    x = draw.integers(0, 128, (len(y), *shape[1:]), np.uint8) + (y * 12)[:, None, None, None]
                    file.write(np.ascontiguousarray(x, np.uint8).data)


def specification(dataset: str, epochs: int) -> dict[str, Any]:
    """Return a job whose step is small beside the reading of its rows."""
    layers = ["flatten", {"type": "dense", "units": 32, "activation": "relu"}, {"type": "dense", "units": "auto"}]
    return {
        "network": {"layers": layers},
        "loss": "cross_entropy",
        "data": {"dataset": dataset, "target": "y", "preprocessing": "standardize", "split": {"validation": 0.02}},
        "training": {"epochs": epochs, "batch_size": 256},
        "metrics": ["accuracy"],
    }


@dataclass
class Watched:
    """The processes of a worker, looked at again and again: the most that they held at the same time, in bytes."""

    pids: list[int]
    anonymous: int = 0
    one: int = 0
    """The most that a single one held."""
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look inside the block."""
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            held = [_anonymous(pid) for pid in self.pids]
            self.anonymous, self.one = max(self.anonymous, sum(held)), max(self.one, *held)


def _anonymous(pid: int) -> int:
    """Return the bytes of a process that no file stands behind: what the system cannot take away."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def workers_of(home: Path) -> list[int]:
    """Return the processes of the worker of a stack: those that run the module and have its home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            of_worker = b"-m\0worker" in (folder / "cmdline").read_bytes()
            if of_worker and f"TRAINYARD_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@contextmanager
def held_to(limit: int, pids: list[int]) -> Iterator[Path | None]:
    """Put processes into a control group with a limit; None where that is not allowed."""
    older = (GROUPS / "memory").is_dir()
    group = GROUPS / ("memory" if older else "") / f"trainyard-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        (group / ("memory.limit_in_bytes" if older else "memory.max")).write_text(str(limit))
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield group
    finally:
        for pid in pids:
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(str(pid))
        with suppress(OSError):
            group.rmdir()


def train(client: Client, dataset: str, epochs: int) -> tuple[dict[str, Any], float, float]:
    """Train; return what the job said of its data, the seconds until it began, and rows a second from then on."""
    job = client.submit(specification(dataset, epochs))
    done = client.wait(job.id)
    if done.status != "succeeded":
        raise SystemExit(f"the job {done.status}: {done.error}")
    events = client.request("GET", f"/v1/jobs/{job.id}/events")["data"]
    told = next(event for event in events if event["type"] == "training")
    begun = _seconds(client.request("GET", f"/v1/jobs/{job.id}")["started_at"])
    ends = [_seconds(metric["at"]) for metric in _metrics(client, job.id)]
    rows = told["data"]["rows"] + told["data"]["validation_rows"]
    speed = rows * (len(ends) - 1) / (ends[-1] - ends[0])
    return told["data"], _seconds(told["created_at"]) - begun, speed


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _metrics(client: Client, job: str) -> list[dict[str, Any]]:
    query = {"name": "loss", "split": "train"}
    found: list[dict[str, Any]] = client.request("GET", f"/v1/jobs/{job}/metrics", params=query)["data"]
    return found


def upload(client: Client, folder: Path, size: int) -> str:
    """Make a file of about so many bytes, upload it and remove it; return the id of the data set."""
    file = folder / "images.npz"
    write_images(file, size // ROW_BYTES)
    begin = time.perf_counter()
    dataset = client.upload(file)
    taken = time.perf_counter() - begin
    print(f"uploaded {file.stat().st_size / GIB:.2f} GiB, {dataset['rows']:,} rows, in {taken:.0f} s")
    file.unlink()
    return str(dataset["id"])


def larger(size: int, limit: int, epochs: int, folder: Path) -> None:
    """Train on data of `size` bytes in a worker that is held to `limit`, and print what it took."""
    variables = {"TRAINYARD_MAX_TRAINING_BYTES": str(limit), "TRAINYARD_MAX_UPLOAD_BYTES": str(4 * size)}
    with temporary_stack(variables) as (url, home), Client(url) as client:
        dataset = upload(client, folder, size)
        pids = workers_of(home)
        watched = Watched(pids)
        with held_to(limit, pids) as group, watched.watching():
            told, waited, speed = train(client, dataset, epochs)
            peak = _peak(group)
        print(f"{size / GIB:.1f} GiB of rows in a worker held to {limit / GIB:.1f} GiB: {told['data']}")
        print(f"  by a control group: {'yes, with all pages of files ' + peak if group else 'no'}")
        print(f"  most held, without pages of files: {watched.one / MIB:.0f} MiB by the process that trains,")
        estimate = told["memory_bytes"] / MIB
        print(f"  {watched.anonymous / MIB:.0f} MiB by all of the worker; {estimate:.0f} MiB by estimate for the job")
        print(f"  {waited:.0f} s until the first step, then {speed:,.0f} rows/s")


def _peak(group: Path | None) -> str:
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        if group and (group / name).exists():
            return f"{int((group / name).read_text()) / MIB:.0f} MiB"
    return ""


def beside(size: int, epochs: int, folder: Path) -> None:
    """Train on data that fit, in memory and streamed, and print how fast each is."""
    speeds = {}
    for place, limit in (("memory", 1 << 40), ("streamed", MIB)):
        with temporary_stack({"TRAINYARD_MAX_DATA_BYTES": str(limit)}) as (url, _), Client(url) as client:
            dataset = upload(client, folder, size)
            found = [train(client, dataset, epochs) for _ in range(2)]
            speeds[place] = max(speed for _, _, speed in found)
            for told, waited, speed in found:
                print(f"{place}: {told['data']}, {waited:.1f} s until the first step, then {speed:,.0f} rows/s")
    print(f"streamed is {speeds['streamed'] / speeds['memory']:.2f} times as fast as in memory")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--limit", type=float, default=2.0, help="GiB that the worker may take")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--fitting", type=float, default=0.25, help="GiB of the data that fit")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trainyard-") as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < 5 * asked.gigabytes * GIB:
            raise SystemExit(f"{folder} has too little room: five times the data are needed")
        larger(int(asked.gigabytes * GIB), int(asked.limit * GIB), asked.epochs, folder)
        beside(int(asked.fitting * GIB), asked.epochs + 2, folder)


if __name__ == "__main__":
    main()
