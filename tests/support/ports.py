"""Ports for servers that tests start."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port that is free, and that the system gives nobody by itself: nobody takes it before the server does.

    Those that it gives, to whoever asks for port 0 and to every connection that is made, are above.
    """
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
