"""The cache of a machine: whole files only, within its bound, made once, and made anew when they are damaged."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.failures import CacheFailed
from worker.cache.file import Contents, Writer
from worker.cache.folder import Folder

ROWS = np.arange(30_000, dtype=np.int32).reshape(10_000, 3)
SIZE = ROWS.nbytes
ROOM = 10 * SIZE


def fill(writer: Writer) -> dict[str, Any]:
    found = writer.put("x", ROWS.shape, ROWS.dtype, np.array_split(ROWS, 7))
    assert np.array_equal(found, ROWS), "what was put can be read at once"
    writer.put("y", (3,), np.dtype(np.uint8), [np.array([1, 2, 3], np.uint8)])
    return {"said": "so"}


def folder(path: Path, most: int = ROOM, between: Callable[[], None] = lambda: None) -> Folder:
    return Folder(path / "cache", most, between)


def get(path: Path, key: str = "ab", most: int = ROOM) -> tuple[Contents, bool]:
    return folder(path, most).get(key, SIZE, fill)


def names(path: Path) -> set[str]:
    return {file.name for file in (path / "cache").iterdir() if file.suffix != ".lock"}


def test_a_file_is_written_once_and_found_from_then_on(tmp_path: Path) -> None:
    for expected in (True, False):
        contents, made = get(tmp_path)
        assert made is expected and contents.known == {"said": "so"}
        assert np.array_equal(contents.arrays["x"].values, ROWS)
        assert contents.arrays["y"].values.tolist() == [1, 2, 3]
    assert names(tmp_path) == {"ab.rows"}


@pytest.mark.parametrize("place", [0, 5_000, SIZE - 1, -1, -40, -60])
def test_a_file_in_which_one_byte_differs_is_made_anew(tmp_path: Path, place: int) -> None:
    del get(tmp_path)[0].arrays["x"]
    file = tmp_path / "cache" / "ab.rows"
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    contents, made = get(tmp_path)
    assert made and np.array_equal(contents.arrays["x"].values, ROWS)
    assert not get(tmp_path)[1]


@pytest.mark.parametrize("left", [0, 10, 5_000, SIZE])
def test_a_file_that_was_cut_is_made_anew(tmp_path: Path, left: int) -> None:
    get(tmp_path)
    os.truncate(tmp_path / "cache" / "ab.rows", left)
    contents, made = get(tmp_path)
    assert made and np.array_equal(contents.arrays["x"].values, ROWS)


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def broken(writer: Writer) -> dict[str, Any]:
        writer.put("x", ROWS.shape, ROWS.dtype, [ROWS])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder(tmp_path).get("ab", SIZE, broken)
    assert names(tmp_path) == set()
    assert get(tmp_path)[1]


def test_the_file_that_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    most = int(3.5 * SIZE)
    for key in ("a", "b", "c"):
        get(tmp_path, key, most)
        time.sleep(0.01)
    get(tmp_path, "a", most)
    get(tmp_path, "d", most)
    assert names(tmp_path) == {"a.rows", "c.rows", "d.rows"}


def test_what_is_in_use_stays_and_the_rest_is_told(tmp_path: Path) -> None:
    most = int(1.5 * SIZE)
    held = get(tmp_path, "a", most)[0]
    with pytest.raises(CacheFailed, match="TRAINYARD_CACHE_BYTES allows"):
        get(tmp_path, "b", most)
    assert names(tmp_path) == {"a.rows"}
    assert np.array_equal(held.arrays["x"].values, ROWS)
    del held
    assert get(tmp_path, "b", most)[1]
    assert names(tmp_path) == {"b.rows"}


def test_what_never_fits_is_told_and_nothing_is_removed_for_it(tmp_path: Path) -> None:
    get(tmp_path, "a")
    with pytest.raises(CacheFailed):
        folder(tmp_path, SIZE).get("b", 2 * SIZE, fill)
    assert names(tmp_path) == {"a.rows"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Writer):
        def _write(self, data: bytes | memoryview) -> None:
            with open("/dev/full", "wb", buffering=0) as disk:
                disk.write(data)

    monkeypatch.setattr("worker.cache.folder.Writer", Full)
    with pytest.raises(CacheFailed, match="no room on the disk"):
        get(tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk")
def test_a_real_disk_that_is_full_is_told_before_the_work_is_done(tmp_path: Path) -> None:
    with small_disk(tmp_path / "cache", 2 * SIZE + 64 * 1024):
        get(tmp_path, "a")
        get(tmp_path, "b")
        assert names(tmp_path) == {"b.rows"} or names(tmp_path) == {"a.rows", "b.rows"}
        called: list[Writer] = []
        with pytest.raises(CacheFailed, match="no room on the disk"):
            folder(tmp_path, 100 * SIZE).get("c", 5 * SIZE, lambda writer: called.append(writer) or {})
        assert not called
        assert get(tmp_path, "d")[1], "a file that is not used makes room for another"


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[None]:
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=False)
    if done.returncode:
        pytest.skip("no rights to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(CacheFailed, match="cannot be kept"):
        get(tmp_path)


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(CacheFailed, match="cannot be kept"):
        get(tmp_path)


def test_two_who_want_the_same_file_make_it_once(tmp_path: Path) -> None:
    made: list[bool] = []

    def slowly(writer: Writer) -> dict[str, Any]:
        time.sleep(0.3)
        return fill(writer)

    threads = [threading.Thread(target=lambda: made.append(folder(tmp_path).get("ab", SIZE, slowly)[1])) for _ in "123"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, True]


DIES = """
import os, sys
from pathlib import Path
import numpy as np
from worker.cache.folder import Folder

def fill(writer):
    writer.put("x", (1000,), np.dtype(np.int64), [np.arange(1000)])
    os.kill(os.getpid(), 9)

Folder(Path(sys.argv[1]), 10**9, lambda: None).get("ab", 10**6, fill)
"""


def test_what_a_dead_process_left_is_cleared_away(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "cache")], check=False, timeout=60)
    assert done.returncode == -9
    (left,) = names(tmp_path)
    assert left.endswith(".part")
    assert get(tmp_path)[1]
    assert names(tmp_path) == {"ab.rows"}


def test_scratch_is_gone_in_the_end(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), folder(tmp_path).scratch(1000) as file:
        file.write(b"1")
        assert len(names(tmp_path)) == 1
        print(1 / 0)
    assert names(tmp_path) == set()


def test_between_may_break_off_the_looking(tmp_path: Path) -> None:
    get(tmp_path)
    os.utime(tmp_path / "cache" / "ab.rows", ns=(1, 1))

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder(tmp_path, between=stop).get("ab", SIZE, fill)
