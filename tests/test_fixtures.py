"""What the tests stand on: the servers answer, end with their session whatever ends it, and the samples are sound."""

import csv
import io
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
import pytest
import redis

from service.store.tables import Table
from tests.support.databases import FreshDatabases

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


ROW = (
    "INSERT INTO workers (id, host, pid, slots, device, started_at, heartbeat_at) VALUES ('w', 'h', 1, 1, 'cpu', 0, 0)"
)
DROPPED = [
    "CREATE TABLE more ()",
    "ALTER TABLE jobs RENAME TO elsewhere",
    "UPDATE alembic_version SET version_num = 'x'",
]
DROPPED += ["ALTER TABLE jobs DROP COLUMN seed", "DROP TABLE alembic_version", "CREATE INDEX more ON workers (host)"]


@pytest.mark.parametrize("said", [ROW, "SELECT nextval('job_events_id_seq')", *DROPPED])
def test_a_database_is_lent_again_without_what_was_done_to_it(
    postgres_server: psycopg.Connection[Any], postgres_fresh: FreshDatabases, said: str
) -> None:
    def known() -> set[str]:
        return {str(name) for (name,) in postgres_server.execute("SELECT oid FROM pg_database")}

    with postgres_fresh.one() as url:
        before, first = known(), url
        left_behind = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        left_behind.execute(said)
    with pytest.raises(psycopg.OperationalError):
        left_behind.execute("SELECT 1")
    left_behind.close()
    assert (known() == before) is (said not in DROPPED)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first.replace("+psycopg", ""))
    with postgres_fresh.one() as url, psycopg.connect(url.replace("+psycopg", "")) as sql:
        assert all(sql.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,) for name in Table.metadata.tables)
        assert sql.execute("SELECT nextval('job_events_id_seq')").fetchone() == (1,)


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
