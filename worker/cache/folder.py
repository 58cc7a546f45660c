"""A folder of files, each made once for all processes of a machine: bounded, the least recently used going first.

A file appears under its name when it is whole. Locks say what is in use: whoever reads a file shares a lock on it,
whoever writes one holds it alone, so that what a dead process left is known by nobody holding it.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from service.failures import CacheFailed
from service.memory import size_in_words
from worker.cache import file as files
from worker.cache.file import Contents, Damaged, Writer

log = logging.getLogger(__name__)
WHOLE, PART = ".rows", ".part"
ASK_SECONDS = 0.1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Fill = Callable[[Writer], dict[str, Any]]

_checked: set[tuple[int, ...]] = set()
"""Files that this process has verified: once is enough as long as nobody writes to them."""


class Folder:
    """The cache of one machine, at most `most_bytes` large; `between` is called while it works, and may raise."""

    def __init__(self, path: Path, most_bytes: int, between: Callable[[], None]) -> None:
        self._path, self._most, self._between = path, most_bytes, between

    def get(self, key: str, size: int, fill: Fill) -> tuple[Contents, bool]:
        """Return the contents of the file of this key, and whether they were made now.

        `fill` makes them, of about `size` bytes. Others who want the same file wait until it is there.

        Raises:
            CacheFailed: The disk, the limit or the rights do not let it be made.
        """
        with self._told():
            self._path.mkdir(parents=True, exist_ok=True)
            found = self._open(key)
            if found is not None:
                return found, False
            with self._locked(f"fill-{key[:2]}"):
                found = self._open(key)
                if found is not None:
                    return found, False
                return self._make(key, size, fill), True

    @contextmanager
    def scratch(self, size: int) -> Iterator[IO[bytes]]:
        """Open a file for `size` bytes that is gone in the end.

        Raises:
            CacheFailed: There is no room for it.
        """
        with self._told(), self._taken(f"{os.getpid()}-{time.monotonic_ns()}", size) as part:
            try:
                yield part
            finally:
                Path(part.name).unlink(missing_ok=True)

    def _open(self, key: str) -> Contents | None:
        path = self._path / f"{key}{WHOLE}"
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                state = os.fstat(file.fileno())
                if path.stat().st_ino != state.st_ino:
                    return None
                # When it was used; when it was written stays.
                os.utime(path, ns=(time.time_ns(), state.st_mtime_ns))
                if _state(file) not in _checked:
                    files.check(file, self._between)
                    _checked.add(_state(file))
                return files.read(file)
        except FileNotFoundError:
            return None
        except Damaged as error:
            log.warning("%s is made anew: %s", path, error)
            path.unlink(missing_ok=True)
            return None

    def _make(self, key: str, size: int, fill: Fill) -> Contents:
        with self._taken(f"{key}-{os.getpid()}", size) as part:
            try:
                writer = Writer(part, self._between)
                writer.finish(fill(writer))
                # Not synced: if the machine dies before the bytes are on the disk, the hash tells.
                Path(part.name).rename(self._path / f"{key}{WHOLE}")
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
            _checked.add(_state(part))
            # From the same opened file: it is never without a lock.
            fcntl.flock(part, fcntl.LOCK_SH)
            return files.read(part)

    @contextmanager
    def _taken(self, name: str, size: int) -> Iterator[IO[bytes]]:
        """Open a file for which `size` bytes are set aside on the disk."""
        path = self._path / f"{name}{PART}"
        with self._locked("room"):
            self._path.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            file = path.open("w+b")
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                self._set_aside(file, size)
            except BaseException:
                file.close()
                path.unlink()
                raise
        with file:
            yield file

    def _set_aside(self, file: IO[bytes], size: int) -> None:
        """Take the room now: a full disk is to be told before the work is done, not in the middle of it."""
        while True:
            try:
                if size and hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno not in FULL or not self._drop_oldest():
                    raise

    def _make_room(self, size: int) -> None:
        for path in self._path.glob(f"*{PART}"):
            _remove_if_unused(path)
        while (taken := sum(_size(path) for path in self._path.iterdir())) + size > self._most:
            if size > self._most or not self._drop_oldest():
                raise CacheFailed(
                    f"The data need {size_in_words(size)} in {self._path}, where {size_in_words(taken)} are in use: "
                    f"TRAINYARD_CACHE_BYTES allows {size_in_words(self._most)}."
                )

    def _drop_oldest(self) -> bool:
        """Remove the file that was used longest ago and that nobody uses now; tell whether there was one."""
        return any(map(_remove_if_unused, sorted(self._path.glob(f"*{WHOLE}"), key=_used_at)))

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self._path.mkdir(parents=True, exist_ok=True)
        with (self._path / f"{name}.lock").open("ab") as lock:
            while not _lock_now(lock):
                self._between()
                time.sleep(ASK_SECONDS)
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the system refuses into the reason why a job failed."""
        try:
            yield
        except OSError as error:
            where = f"the cache in {self._path} (TRAINYARD_CACHE)"
            if error.errno in FULL:
                raise CacheFailed(f"There is no room on the disk for {where}: {error.strerror}.") from error
            raise CacheFailed(f"The data cannot be kept in {where}: {error.strerror or error}.") from error


def _state(file: IO[bytes]) -> tuple[int, ...]:
    """Return what changes when somebody writes to a file, or puts another in its place."""
    state = os.fstat(file.fileno())
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _lock_now(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_unused(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if not _lock_now(file):
                return False
            path.unlink()
            return True
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _used_at(path: Path) -> int:
    try:
        return path.stat().st_atime_ns
    except FileNotFoundError:
        return 0
