"""Which addresses may be sent to: what a URL says, what its name resolves to, and whether all of that is public."""

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host and port; OSError where it has none."""
ALLOWED = "an http or https URL of a host with public addresses only, without user name and password"
LONGEST_URL = 2000
NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses of IPv4 as networks without it see them (RFC 6052)."""


class Refused(Exception):
    """Nothing may be sent to this URL."""


class Unresolved(Exception):
    """The host has no address, or nobody said in time."""


def read_url(text: str) -> httpx.URL:
    """Return a URL that is one of HTTP, names a host and carries no credentials.

    Raises:
        Refused: It is another one; the message repeats nothing of it.
    """
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused("is not a URL") from error
    if url.scheme not in ("http", "https"):
        raise Refused("must begin with http:// or https://")
    if not url.host:
        raise Refused("must name a host")
    if url.port is not None and not 1 <= url.port <= 65_535:
        raise Refused("must name a port from 1 to 65535, or none")
    if url.userinfo:
        raise Refused("must not carry a user name or a password")
    return url


def addresses_of(url: httpx.URL, allow_private: bool, seconds: float, resolve: Resolve | None = None) -> list[str]:
    """Return the addresses of the URL's host, each of which may be connected to.

    One address that is not public refuses the host: which of them is taken would otherwise be up to its owner.

    Raises:
        Refused: An address is loopback, private, link-local, multicast, reserved or the like, and that is not allowed.
        Unresolved: There is none.
    """
    found = _within(seconds, resolve or lookup, url.raw_host.decode("ascii"), url.port or _port(url))
    if not allow_private and not all(is_public(address) for address in found):
        raise Refused("leads to an address that is not public")
    return found


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet; of one that stands for others, whether they are."""
    return all(_is_global(ip) for ip in _meant(ip_address(address)))


def lookup(host: str, port: int) -> list[str]:
    """Return the addresses that the system knows of a host, in the order to try them.

    Raises:
        OSError: It knows none.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("it is no name of a host") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _port(url: httpx.URL) -> int:
    return 443 if url.scheme == "https" else 80


def _meant(ip: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return the IPv4 address that an IPv6 address is only another form of, else it and those that it tunnels to."""
    if isinstance(ip, IPv4Address):
        return [ip]
    if ip.ipv4_mapped or ip in NAT64:
        return [IPv4Address(int(ip) & 0xFFFFFFFF)]
    return [ip, *([ip.sixtofour] if ip.sixtofour else ()), *(ip.teredo or ())]


def _is_global(ip: IPv4Address | IPv6Address) -> bool:
    odd = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local or ip.is_loopback
    return ip.is_global and not odd and not (isinstance(ip, IPv6Address) and ip.is_site_local)


def _within(seconds: float, resolve: Resolve, host: str, port: int) -> list[str]:
    """Resolve in a thread of its own: the system's resolver knows no time limit."""
    answer: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(list(resolve(host, port)))
        except OSError as error:
            answer.put(error)

    threading.Thread(target=ask, name="webhook-lookup", daemon=True).start()
    try:
        found = answer.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise Unresolved(f"the host was not found within {seconds:.0f} s") from None
    if isinstance(found, OSError) or not found:
        raise Unresolved("the host has no address")
    return found
