"""What the tests stand on: the servers answer, end with their session whatever ends it, and the samples are sound."""

import csv
import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import redis

WAITING = """
import time
def test_waiting(redis_socket, postgres_server):
    print(f"pids {redis_socket.parent} {postgres_server.info.host}", flush=True)
    time.sleep(60)
"""


def test_redis_answers_and_is_empty(redis_url: str) -> None:
    with redis.Redis(unix_socket_path=redis_url.removeprefix("redis+socket://")) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_every_test_gets_an_empty_redis(redis_url: str) -> None:
    test_redis_answers_and_is_empty(redis_url)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_servers_end_with_their_session(tmp_path: Path, end: signal.Signals) -> None:
    (tmp_path / "test_waiting.py").write_text(WAITING)
    conftest = Path(__file__).with_name("conftest.py")
    (tmp_path / "conftest.py").write_bytes(conftest.read_bytes())
    options = ["-p", "no:cacheprovider", "-s", "-q", str(tmp_path)]
    session = subprocess.Popen([sys.executable, "-m", "pytest", *options], stdout=subprocess.PIPE, text=True)
    assert session.stdout is not None
    line = next(line for line in session.stdout if "pids" in line)
    folders = [Path(word) for word in line.split("pids ")[1].split()]
    assert processes(folders)
    session.send_signal(end)
    session.communicate()
    deadline = time.monotonic() + 30
    while (left := processes(folders)) or any(folder.exists() for folder in folders):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def processes(folders: list[Path]) -> list[str]:
    """Find the living processes that work in one of the folders."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(folder) in line for folder in folders):
            found.append(line)
    return found


CLASSES = {
    "iris_csv": {"setosa", "versicolor", "virginica"},
    "wine_csv": {"class_0", "class_1", "class_2"},
    "breast_cancer_csv": {"malignant", "benign"},
}


@pytest.mark.parametrize(("name", "rows", "columns"), [
    ("iris_csv", 150, 5), ("wine_csv", 178, 14), ("breast_cancer_csv", 569, 31), ("diabetes_csv", 442, 11),
])  # fmt: skip
def test_samples_are_whole_tables(request: pytest.FixtureRequest, name: str, rows: int, columns: int) -> None:
    header, *lines = csv.reader(io.StringIO(request.getfixturevalue(name).decode()))
    assert (len(lines), len(header), header[-1]) == (rows, columns, "target")
    assert {len(line) for line in lines} == {columns}
    if name in CLASSES:
        assert {line[-1] for line in lines} == CLASSES[name]
    assert all(float(cell) == float(cell) for line in lines for cell in line[:-1])


def test_digits_are_images(digits_npz: bytes) -> None:
    with np.load(io.BytesIO(digits_npz), allow_pickle=False) as arrays:
        assert set(arrays) == {"image", "target"}
        assert (arrays["image"].shape, arrays["image"].dtype) == ((1797, 8, 8), np.uint8)
        assert set(arrays["target"].tolist()) == set(range(10))
        assert int(arrays["image"].max()) == 16
