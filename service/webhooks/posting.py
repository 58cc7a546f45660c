"""One POST to addresses that were checked before: no second look-up, no redirect, no proxy, and an end in time."""

import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import httpcore
import httpx

TROUBLE = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


class NotPosted(Exception):
    """No answer came; the message says why, in words for the owner of the receiver."""


class Deadline:
    """A moment after which nothing is waited for any more."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            httpcore.ReadTimeout: None are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time is over")
        return left


def post(url: httpx.URL, addresses: Sequence[str], headers: Mapping[str, str], body: bytes, deadline: Deadline) -> int:
    """Send a body to one of the addresses, in the name of the URL's host, and return the status of the answer.

    The body of the answer is not read. A certificate must be the host's, whatever address is connected to.

    Raises:
        NotPosted: Nobody answered before the deadline.
    """
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    backend = _Pinned(addresses, deadline)
    lines = [("Host", url.netloc.decode("ascii")), *headers.items()]
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_certificates(), network_backend=backend) as pool,
            pool.stream("POST", target, headers=lines, content=body) as response,
        ):
            return response.status
    except httpcore.TimeoutException as error:
        raise NotPosted("no answer came in time") from error
    except TROUBLE as error:
        raise NotPosted(str(error) or type(error).__name__) from error


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust: reading that takes longer than a request."""
    return httpx.create_ssl_context()


class _Pinned(httpcore.SyncBackend):
    """Connects to the given addresses, whatever the host is called."""

    def __init__(self, addresses: Sequence[str], deadline: Deadline) -> None:
        self._addresses, self._deadline = addresses, deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = self._addresses
        for at, address in enumerate(others):
            share = self._deadline.left() / (len(self._addresses) - at)  # one that is silent leaves time for the rest
            try:
                return _Timed(super().connect_tcp(address, port, share), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return _Timed(super().connect_tcp(last, port, self._deadline.left()), self._deadline)


class _Timed(httpcore.NetworkStream):
    """A stream that ends at the deadline, also when the other side sends a byte now and then to keep it open."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._inner.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
