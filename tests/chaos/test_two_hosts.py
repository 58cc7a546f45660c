"""Two hosts on one PostgreSQL, one of them cut off from the network and connected again.

The other host is a network namespace; the cable between the two is a pair of virtual interfaces.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from service.stack import worker_commands
from tests.chaos.conftest import Postgresql
from tests.chaos.fleet import Fleet
from tests.worker.runs import changed, outcome

# Others may run the same test beside this one.
MINE = os.getpid() % 60_000
NAME, CABLE, PLUG = f"trainyard-{MINE}", f"ty-n{MINE}", f"ty-f{MINE}"
NEAR, FAR = (str(IPv4Address("10.192.0.0") + 4 * MINE + end) for end in (1, 2))
SPEC = changed(training={"epochs": 150, "checkpoint_seconds": 0.2})


class Forward:
    """Passes what comes to a port of the near address on to a Unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server((NEAR, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._path)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with source, suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)  # which ends the thread that reads from it


def ip(*arguments: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[str]:
    """The near end of a cable to the other host."""
    try:
        ip("netns", "add", NAME)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    try:
        ip("link", "add", CABLE, "type", "veth", "peer", "name", PLUG, "netns", NAME)
        ip("addr", "add", f"{NEAR}/30", "dev", CABLE)
        ip("-n", NAME, "addr", "add", f"{FAR}/30", "dev", PLUG)
        for where in ([], ["-n", NAME]):
            ip(*where, "link", "set", CABLE if not where else PLUG, "up")
        yield CABLE
    finally:
        ip("netns", "delete", NAME)


@pytest.fixture
def fleet(home: Path, postgresql: Postgresql) -> Iterator[Fleet]:
    """The near host: a server, and no worker yet."""
    fleet = Fleet(home, postgresql, workers=0)
    yield fleet
    fleet.close()


def test_a_host_is_cut_off_and_connected_again(
    fleet: Fleet, postgresql: Postgresql, cable: str, wine_csv: bytes
) -> None:
    server = next(Path(postgresql.url.partition("host=")[2]).glob(".s.PGSQL.[0-9]*[0-9]"))
    database, broker = Forward(str(server)), Forward(str(fleet.socket))
    credentials, _, name = postgresql.url.partition("?")[0].partition("//")[2].partition("@/")
    far = {
        "database_url": f"postgresql+psycopg://{credentials}@{NEAR}:{database.port}/{name}",
        "broker_url": f"redis://{NEAR}:{broker.port}/0",
    }
    (command,) = worker_commands(fleet.settings).values()
    there = [*command[:2], "tests.support.far", NAME, *command[2:]]
    fleet.workers.append(fleet.start("far", there, **far))
    dataset = fleet.upload(wine_csv)
    spec = {**SPEC, "data": {**SPEC["data"], "dataset": dataset}}
    job_id = fleet.submit(spec)
    fleet.running(job_id)
    first = fleet.holder(job_id)

    ip("link", "set", cable, "down")
    near = fleet.start_worker()
    fleet.wait_for(job_id, lambda job: job.attempt == 2 and job.step > 60)
    assert fleet.holder(job_id) != first
    ip("link", "set", cable, "up")
    job = fleet.ended(job_id)
    assert (job.status, job.attempt, job.lost) == ("succeeded", 2, 1), job.error_message
    assert fleet.story(job_id).count("claimed") == 2

    # The host that was cut off wrote nothing, knows it, and works again; its run in peace is the same.
    near.terminate()
    near.wait(timeout=30)
    again = fleet.submit(spec)
    calm = fleet.ended(again)
    assert (calm.status, calm.attempt) == ("succeeded", 1)
    assert outcome(fleet.store, again) == outcome(fleet.store, job_id)
    database.close()
    broker.close()
