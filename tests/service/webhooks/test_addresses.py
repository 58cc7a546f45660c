"""Where nothing may be sent: a table of addresses, and names that resolve to them."""

import threading
import time
from collections.abc import Sequence

import httpx
import pytest

from service.webhooks.addresses import Refused, Resolve, Unresolved, addresses_of, is_public, lookup, read_url

PUBLIC = ["93.184.215.14", "8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",  # shared by carriers, RFC 6598
    "169.254.169.254",  # metadata of clouds
    "169.254.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata again
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:c0a8:101::1",
    "2001:0:7f00:1::1",  # Teredo
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def answering(*addresses: str) -> Resolve:
    """A resolver that knows one host."""

    def resolve(host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("hooks.example.com", 8443)
        return addresses

    return resolve


def resolved(*addresses: str, private: bool = False) -> list[str]:
    return addresses_of(httpx.URL("https://hooks.example.com:8443/x"), private, 5, answering(*addresses))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_names_of_such_addresses_are_refused_also_beside_public_ones(address: str) -> None:
    for found in ([address], [PUBLIC[0], address], [address, PUBLIC[0]]):
        with pytest.raises(Refused, match="not public") as caught:
            resolved(*found)
        assert address not in str(caught.value)  # what a name means inside is nothing to tell
        assert resolved(*found, private=True) == found


def test_names_of_public_addresses_give_them_in_order() -> None:
    assert resolved(*PUBLIC) == PUBLIC


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0"],
)
def test_every_way_to_write_loopback_is_refused(host: str) -> None:
    with pytest.raises(Refused, match="not public"):
        addresses_of(read_url(f"http://{host}/"), False, 5)


def test_a_name_without_an_address() -> None:
    with pytest.raises(Unresolved, match="no address"):
        resolved()
    with pytest.raises(OSError, match="no name"):
        lookup("a" * 64 + ".example", 80)

    def fail(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(Unresolved, match="no address"):
        addresses_of(httpx.URL("http://x/"), True, 5, fail)


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def hang(host: str, port: int) -> Sequence[str]:
        release.wait(60)
        return PUBLIC

    started = time.monotonic()
    with pytest.raises(Unresolved, match="within 0 s"):
        addresses_of(httpx.URL("http://x/"), True, 0.1, hang)
    assert time.monotonic() - started < 5
    release.set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://example.com/", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("example.com/hook", "must begin with http"),
        ("//example.com/", "must begin with http"),
        ("", "must begin with http"),
        ("http://", "must name a host"),
        ("https:///path", "must name a host"),
        ("http://user@example.com/", "must not carry"),
        ("http://user:hunter2@example.com/", "must not carry"),
        ("http://:hunter2@example.com/", "must not carry"),
        ("http://0177.0.0.1/", "is not a URL"),
        ("http://example.com:99999/", "must name a port"),
        ("http://example.com:0/", "must name a port"),
        ("http://example.com:x/", "is not a URL"),
        ("http://[::1/", "is not a URL"),
        ("http://exa\nmple.com/", "is not a URL"),
        ("http://xn--\u00e4\u2028.com/", "is not a URL"),
    ],
)
def test_urls_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as caught:
        read_url(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://example.com", "https://bücher.example:8443/a?b=c", "http://[2606:4700::1]/"])
def test_urls_that_are_taken(text: str) -> None:
    assert read_url(text).host
