"""How much memory there is: the machine's, or what control groups leave of it."""

from pathlib import Path

import pytest

from service.machine import available_memory

MIB = 1 << 20


def group(folder: Path, name: str, limit: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(limit + "\n")


def test_without_groups_there_is_what_the_machine_has(tmp_path: Path) -> None:
    assert available_memory(tmp_path / "none", tmp_path) > MIB


@pytest.mark.parametrize(("limits", "least"), [(("max", "64"), 64), (("32", "64"), 32), (("32", "max"), 32)])
def test_the_least_limit_on_the_way_holds(tmp_path: Path, limits: tuple[str, str], least: int) -> None:
    own = tmp_path / "own"
    own.write_text("0::/outer/inner\n")
    for folder, limit in zip(("outer", "outer/inner"), limits, strict=True):
        group(tmp_path / folder, "memory.max", limit if limit == "max" else str(int(limit) * MIB))
    assert available_memory(own, tmp_path) == least * MIB


def test_the_older_version_has_folders_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("9:cpu,cpuacct:/elsewhere\n4:memory:/not/seen/here\n0::/\n")
    group(tmp_path / "memory", "memory.limit_in_bytes", str(MIB))
    assert available_memory(own, tmp_path) == MIB
