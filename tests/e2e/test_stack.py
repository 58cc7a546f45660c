"""`trainyard up` itself: what it says when it cannot start, and that nothing is left when it ends."""

import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from service.client import Client
from tests.support.real_stack import ROOT, TRAINYARD, WAIT_SECONDS, Stack, command_of, descendants, eventually, parents

LONG_JOB = {
    "network": {"layers": [{"type": "dense", "units": 8}, {"type": "dense", "units": "auto"}]},
    "loss": "cross_entropy",
    "data": {"target": "cultivar", "preprocessing": "standardize"},
    "training": {"epochs": 1_000_000},
}


def start_job(stack: Stack) -> None:
    """Let the stack have something to do."""
    with Client(stack.url) as client:
        dataset = client.upload(ROOT / "examples" / "wine.csv")["id"]
        job = client.submit(LONG_JOB | {"data": {**LONG_JOB["data"], "dataset": dataset}}).id  # type: ignore[dict-item]
        assert eventually(lambda: client.job(job).progress.epoch > 0)


def test_ctrl_c_leaves_nothing_behind(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("h" * 120)  # with a home whose path is too long for a Unix socket
    stack.wait()
    start_job(stack)
    family = descendants(stack.process.pid)
    assert len(family) >= 4  # Redis, server, worker and the worker's child
    (redis,) = stack.pids("redis-server")
    listening = Path(command_of(redis).partition("unixsocket:")[2].strip())
    assert listening.is_socket()
    assert listening.parent.name.startswith("trainyard-")

    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(WAIT_SECONDS) == 0
    assert family.isdisjoint(parents())
    assert not listening.parent.exists()
    assert not (stack.home / "url").exists()
    assert {log.name for log in (stack.home / "logs").iterdir()} >= {"redis.log", "server.log", "worker.log"}


def test_sigkill_leaves_nothing_behind(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack("killed", TRAINYARD_PREDICTORS="0")
    stack.wait()
    start_job(stack)
    family = descendants(stack.process.pid)
    stack.process.kill()
    assert eventually(lambda: family.isdisjoint(parents()))


def up(home: Path, *options: str) -> str:
    """Run `up` where it cannot start, and return what it says."""
    command = [*TRAINYARD, "up", "--home", str(home), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_one_home_has_one_stack(stack: Stack) -> None:
    said = up(stack.home, "--port", "0")
    assert said == f"trainyard: {stack.home} is in use: trainyard already runs from it at {stack.url}\n"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = up(tmp_path, "--port", str(port))
    assert said.startswith(f"trainyard: cannot listen on 127.0.0.1, port {port}: Address already in use.")
    assert "--port 0" in said


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot write to the home folder" in up(tmp_path / "file" / "home")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "trainyard.db").write_bytes(b"this is no database" * 100)
    said = up(tmp_path, "--port", "0")
    assert said.startswith("trainyard: migrate ended with exit code 1:")
    assert "not a database" in said


def test_a_server_on_an_empty_database_says_what_to_run(tmp_path: Path) -> None:
    def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*TRAINYARD, *arguments, "--home", str(tmp_path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)

    refused = typed("serve", "--port", "0")
    assert refused.returncode != 0
    assert "Run `trainyard migrate`" in refused.stderr
    assert "Traceback" not in refused.stderr
    for _ in range(2):
        migrated = typed("migrate")
        assert (migrated.returncode, migrated.stdout) == (0, "the database is up to date\n")
