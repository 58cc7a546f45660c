"""The folder that one server keeps exported files in: it goes with the server; what a killed one left is removed."""

import fcntl
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "exports-"
LOCK = "lock"
NEWBORN_SECONDS = 60
"""How long a folder may be without its lock: whoever makes it is about to take that."""


class ExportsFolder:
    """A folder below `home` that is locked while its process lives."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        for left in home.glob(f"{PREFIX}*"):
            _remove_if_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=home))
        self._lock = (self.path / LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_if_left(folder: Path) -> None:
    """Remove a folder whose process is gone."""
    with suppress(OSError):
        lock = folder / LOCK
        if not lock.exists():
            if time.time() - folder.stat().st_mtime > NEWBORN_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
            return
        with lock.open("rb+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
            shutil.rmtree(folder, ignore_errors=True)
