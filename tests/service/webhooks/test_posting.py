"""One POST: pinned to the addresses that were checked, no redirect, no proxy, and an end in time."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.webhooks import posting
from service.webhooks.posting import Deadline, NotPosted, post
from tests.support.receiver import Receiver


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def send(url: str, *addresses: str, seconds: float = 5.0) -> int:
    return post(httpx.URL(url), addresses or ("127.0.0.1",), {"X-Test": "1"}, b"{}", Deadline(seconds))


def test_the_address_is_the_one_given_whatever_the_host_is_called(receiver: Receiver, url: str) -> None:
    """No name is looked up again: this one does not exist."""
    assert send(f"http://nobody.invalid:{port_of(url)}/a?b=c") == 204
    (message,) = receiver.messages
    assert message.path == "/a?b=c"
    assert message.headers["host"] == f"nobody.invalid:{port_of(url)}"
    assert (message.headers["x-test"], message.body) == ("1", b"{}")


def test_the_next_address_is_tried_where_nobody_listens(receiver: Receiver, url: str) -> None:
    assert send(f"http://nobody.invalid:{port_of(url)}/", "127.0.0.2", "127.0.0.1") == 204


def test_redirects_are_not_followed(receiver: Receiver, url: str) -> None:
    receiver.answers = [307]
    assert send(url) == 307
    assert len(receiver.messages) == 1


def test_no_proxy_is_asked(receiver: Receiver, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(url) == 204


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NotPosted, match="refused"):
            send(f"http://127.0.0.1:{taken.getsockname()[1]}/")


def test_a_receiver_that_hangs_is_left_in_time(receiver: Receiver, url: str) -> None:
    started = time.monotonic()
    with pytest.raises(NotPosted, match="in time"):
        send(f"{url}/hang", seconds=0.3)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: "])
def test_a_receiver_that_drips_is_left_in_time(receiver: Receiver, url: str, start: bytes) -> None:
    """Each byte comes long before a read would time out; only the whole takes too long."""

    def drip(out: Any) -> None:
        out.write(start)
        while True:
            out.write(b"H" if start else b"\r")
            out.flush()
            time.sleep(0.02)

    receiver.drip = drip
    started = time.monotonic()
    with pytest.raises(NotPosted):
        send(url, seconds=0.5)
    assert time.monotonic() - started < 5


def test_an_endless_answer_is_not_read(receiver: Receiver, url: str) -> None:
    def endless(out: Any) -> None:
        out.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            out.write(b"x" * 65536)

    receiver.drip = endless
    assert send(url) == 200


def test_what_is_no_answer_is_said(receiver: Receiver, url: str) -> None:
    receiver.drip = lambda out: out.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    with pytest.raises(NotPosted):
        send(url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of hooks.example.com, signed by itself, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=hooks.example.com", "-addext", "subjectAltName=DNS:hooks.example.com", "-days", "2"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return folder


@contextmanager
def tls(certificate: Path) -> Iterator[int]:
    """A server that takes one connection over TLS and answers 200; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as stream:
                    stream.recv(65536)
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    while stream.recv(65536):  # what comes in a second piece is not to meet a closed door
                        pass
            except OSError:
                connection.close()  # the other side did not like the certificate

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("host", "trusted", "message"),
    [
        ("hooks.example.com", True, None),
        ("other.example.com", True, "Hostname mismatch"),
        ("127.0.0.1", True, "IP address mismatch"),
        ("hooks.example.com", False, "self-signed"),
    ],
)
def test_a_certificate_must_be_the_hosts_whatever_the_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool, message: str | None
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    posting._certificates.cache_clear()
    with tls(certificate) as port:
        if message is None:
            assert send(f"https://{host}:{port}/") == 200
        else:
            with pytest.raises(NotPosted, match=message):
                send(f"https://{host}:{port}/")
    posting._certificates.cache_clear()
