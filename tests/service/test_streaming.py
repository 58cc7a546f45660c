"""The client that streams files, against the real application and against servers that break off."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.client import Client, ClientError, Refused, Unreachable
from service.streaming import stream_predictions

PROBLEM = {
    "type": "urn:trainyard:problem:invalid_rows", "title": "The rows do not fit.", "status": 422,
    "detail": "rows[9]: no", "code": "invalid_rows", "instance": "/", "errors": [{"path": "rows[9]", "message": "no"}],
}  # fmt: skip


@contextmanager
def answering(*pieces: bytes) -> Iterator[str]:
    """Give the address of a server that answers one request with these bytes and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                for piece in pieces:
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):  # to close with something unread would take the answer back
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def rows(tmp_path: Path) -> str:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    return str(tmp_path / "rows.csv")


def test_an_answer_that_ends_with_a_problem_is_refused_and_left_aside(rows: str, tmp_path: Path) -> None:
    line = json.dumps(PROBLEM, separators=(",", ":")).encode() + b"\n"
    out = tmp_path / "out.ndjson"
    whole = b'{"mean": 1}\n' + line
    for pieces in ([whole], [whole[:5], whole[5:30], whole[30:]], [whole[:12], line[:3], line[3:]]):
        with (
            answering(HEAD, *map(chunk, pieces), b"0\r\n\r\n") as url,
            Client(url) as client,
            pytest.raises(Refused, match=r"rows\[9\]: no"),
        ):
            stream_predictions(client, "m", rows, str(out))
        assert not out.exists() and (tmp_path / "out.ndjson.part").read_bytes() == whole


def test_an_answer_that_breaks_off_is_no_answer(rows: str, tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    with (
        answering(HEAD, chunk(b'{"mean": 1}\n')) as url,
        Client(url) as client,
        pytest.raises(Unreachable, match="broke off"),
    ):
        stream_predictions(client, "m", rows, str(out))
    assert not out.exists()


def test_names_say_in_which_form_files_are(rows: str, tmp_path: Path) -> None:
    with Client("http://127.0.0.1:9") as client:
        with pytest.raises(ClientError, match="does not say in which form"):
            stream_predictions(client, "m", rows, str(tmp_path / "out.xlsx"))
        with pytest.raises(ClientError, match="does not say in which form"):
            stream_predictions(client, "m", str(tmp_path / "rows"), "-")
        with pytest.raises(ClientError, match=r"cannot use .*missing.csv: No such file"):
            stream_predictions(client, "m", str(tmp_path / "missing.csv"), "-")
