"""Files of rows sent to be predicted, and the predictions written to a file as they come."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx
from pydantic import ValidationError

from service.client import Client, ClientError, Problem, Refused, Unreachable, problem_of

ROW_FILES = {
    ".csv": "text/csv",
    ".tsv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}
"""Media types by the ends of names, of what is sent and of what is written."""
PROBLEM = b'{"type":"urn:trainyard:problem:'
"""How a last line begins that says why an answer is not whole."""
LONGEST_PROBLEM = 4 << 20
"""Bytes of a last line that are looked at; Parquet may have no line ends at all."""


def stream_predictions(client: Client, model: str, source: str, target: str, **options: int | None) -> int:
    """Predict a file, and write the answer to another, `-` being standard output; return its size.

    Neither file is ever whole in memory. One that cannot be finished is left behind as `TARGET.part`.

    Raises:
        ClientError: A file cannot be read or written, or its name does not say in which form.
        Refused: The server refuses the file, or cannot go on with it.
        Unreachable: Nobody answers, or the answer breaks off.
    """
    kind = "application/x-ndjson" if target == "-" else _kind(target)
    headers = {"Content-Type": _kind(source), "Accept": kind}
    query = {name: value for name, value in options.items() if value is not None}
    try:
        with Path(source).open("rb") as rows, _opened(target) as out:
            return _send(client, f"/v1/models/{model}/predict", query, headers, rows, out)
    except OSError as error:
        raise ClientError(f"cannot use {error.filename or target}: {error.strerror}") from error


def _kind(name: str) -> str:
    kind = ROW_FILES.get(Path(name).suffix.lower())
    if kind is None:
        raise ClientError(f"{name} does not say in which form it is: let it end with {', '.join(ROW_FILES)}")
    return kind


@contextmanager
def _opened(target: str) -> Iterator[BinaryIO]:
    """Open what is written to; a file has its name only once it is whole."""
    if target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = Path(f"{target}.part")
    with part.open("wb") as file:
        yield file
    part.replace(target)


def _send(
    client: Client, path: str, query: dict[str, int], headers: dict[str, str], rows: BinaryIO, out: BinaryIO
) -> int:
    size, last = 0, b""
    try:
        with client.http.stream("POST", path, params=query, headers=headers, content=rows) as response:
            if response.is_error:
                response.read()
                raise Refused(problem_of(response))
            for piece in response.iter_bytes():
                out.write(piece)
                size += len(piece)
                last = _last_line(last, piece)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise Unreachable(
            f"The answer of {client.url} did not come, or broke off: {str(error) or type(error).__name__}."
        ) from error
    _check_whole(last)
    return size


def _last_line(before: bytes, piece: bytes) -> bytes:
    """Return the last line of what has come, from the last before and the next piece."""
    text = piece if before.endswith(b"\n") else before + piece
    return text[text.rfind(b"\n", 0, -1) + 1 :][:LONGEST_PROBLEM]


def _check_whole(last: bytes) -> None:
    """Raise what the last line says went wrong, if it says so."""
    if last.startswith(PROBLEM):
        try:
            problem = Problem.model_validate_json(last)
        except ValidationError as error:
            raise ClientError("the answer ends with a problem that cannot be read") from error
        raise Refused(problem)
