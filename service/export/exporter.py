"""Exports for a server: each in a process of its own, some at a time, kept as files until there are too many bytes."""

import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import orjson

from service.errors import CorruptBlob, NotExportable, NotFound, Overloaded, Problem, TrainyardError
from service.export.folder import ExportsFolder
from service.settings import Settings
from service.store.tables import Model

MOST_WAITING = 16
"""Exports that may wait for their turn; each takes seconds."""
COMMAND = (sys.executable, "-m", "service.export")


@dataclass(frozen=True)
class Exported:
    """A file that was exported, and what came of holding it against the service."""

    path: Path
    size: int
    key: str
    checked: dict[str, Any]

    def open(self) -> IO[bytes]:
        """Open the file; once it is open it can be read to its end, whoever removes it."""
        return self.path.open("rb")


class Exporter:
    """Exports models in the formats of other programs. Any number of threads may use it at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = ExportsFolder(settings.home.resolve())
        self._turns = ThreadPoolExecutor(settings.max_exports, thread_name_prefix="export")
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Exported] = OrderedDict()
        self._making: dict[str, Future[Exported]] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def close(self) -> None:
        """End what is being exported, and remove the files."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            process.kill()
        self._turns.shutdown(cancel_futures=True)
        self._folder.close()

    def ask(self, row: Model, format: str, *, dropout: bool) -> Future[Exported]:
        """Return what becomes an exported file, or fails with a `TrainyardError`.

        Those who ask for the same share it.

        Raises:
            Overloaded: Too many exports wait for their turn.
        """
        key = identity(row, format, dropout=dropout)
        with self._lock:
            if (found := self._held.get(key)) is not None:
                self._held.move_to_end(key)
                return _done(found)
            if (making := self._making.get(key)) is not None:
                return making
            if len(self._making) >= self._settings.max_exports + MOST_WAITING:
                raise Overloaded("Too many models are being exported; ask again in a moment.")
            order = {"model": row.id, "format": format, "dropout": dropout}
            making = self._making[key] = self._turns.submit(self._make, key, order)
        making.add_done_callback(self._forgetting(key))
        return making

    def _forgetting(self, key: str) -> Callable[[Future[Exported]], None]:
        def forget(_: Future[Exported]) -> None:
            with self._lock:
                self._making.pop(key, None)

        return forget

    def _make(self, key: str, order: dict[str, Any]) -> Exported:
        path = self._folder.path / key
        answer = self._carried_out({**order, "file": str(path)})
        if "refused" in answer:
            raise NotExportable([Problem(**problem) for problem in answer["refused"]])
        if "failed" in answer:
            raise {kind.code: kind for kind in (NotFound, CorruptBlob)}[answer["failed"]](answer["message"])
        made = Exported(path, path.stat().st_size, key, answer["checked"])
        with self._lock:
            self._held[key] = made
            self._shrink(key)
        return made

    def _shrink(self, newest: str) -> None:
        total = sum(held.size for held in self._held.values())
        while total > self._settings.export_cache_bytes and next(iter(self._held)) != newest:
            _, oldest = self._held.popitem(last=False)
            oldest.path.unlink(missing_ok=True)
            total -= oldest.size

    def _carried_out(self, order: dict[str, Any]) -> dict[str, Any]:
        """Give an order to a process, and return its answer."""
        process = start(self._settings.environment())
        assert process.stdin is not None and process.stdout is not None
        with self._lock:
            self._running.add(process)
            closed = self._closed
        if closed:
            process.kill()
        late = threading.Event()

        def expire() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._settings.export_seconds, expire)
        timer.start()
        try:
            # The pipe stays open while the process works: when this one dies, that one ends.
            process.stdin.write(orjson.dumps(order) + b"\n")
            process.stdin.flush()
            said = process.stdout.read()
        except BrokenPipeError:
            said = b""
        finally:
            timer.cancel()
            process.kill()
            process.communicate()
            with self._lock:
                self._running.discard(process)
        if late.is_set():
            message = f"takes longer than the {self._settings.export_seconds:g} s that this server allows"
            raise NotExportable([Problem("format", message, order["format"], ["safetensors"])])
        if not said:
            raise TrainyardError("The process that exports ended without an answer; the server's log says why.")
        answer: dict[str, Any] = orjson.loads(said)
        return answer


def start(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that takes an order on its standard input, and answers on its standard output."""
    return subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def identity(row: Model, format: str, *, dropout: bool) -> str:
    """Return the hash of everything that decides the bytes of a file."""
    whole = [row.id, row.weights_sha256, row.created_at, format, dropout]
    return sha256(orjson.dumps(whole)).hexdigest()


def _done(exported: Exported) -> Future[Exported]:
    future: Future[Exported] = Future()
    future.set_result(exported)
    return future
