"""Forks are processes like any others: what they print, how they end, and that they end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.forks import Nursery
from service.programs import Process, Program
from tests.support.real_stack import descendants, eventually, name_of, parents

SECONDS = 20.0
MODULE = """
import json, os, sys, time
what = sys.argv[1]
if what == "say":
    facts = [sys.argv[1:], dict(os.environ), os.getsid(0) == os.getpid(), sys.stdin.read(), "colorsys" in sys.modules]
    print(json.dumps(facts))
elif what == "exit":
    sys.exit(7)
elif what == "raise":
    raise KeyError("lost")
else:
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of that name that can be run."""
    (tmp_path / "behaves.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.getcwd()}")
    return tmp_path


@pytest.fixture
def nursery(folder: Path) -> Iterator[Nursery]:
    with Nursery(["colorsys"]) as nursery:
        yield nursery


def run(nursery: Nursery, folder: Path, what: str, **environment: str) -> Process:
    command = [sys.executable, "-m", "behaves", what]
    return nursery.fork(command, environment, folder / "log", "a-name-that-is-too-long")


def test_a_fork_has_its_own_arguments_environment_and_log_and_what_was_imported(nursery: Nursery, folder: Path) -> None:
    assert run(nursery, folder, "say", KEY="value").wait(SECONDS) == 0
    said = json.loads((folder / "log").read_text())
    assert said == [["say"], {"KEY": "value"}, True, "", True]


@pytest.mark.parametrize(("what", "status", "last"), [("exit", 7, ""), ("raise", 1, "KeyError: 'lost'")])
def test_it_ends_as_the_program_does(nursery: Nursery, folder: Path, what: str, status: int, last: str) -> None:
    process = run(nursery, folder, what)
    assert process.wait(SECONDS) == status == process.poll() == process.returncode
    assert (folder / "log").read_text().rstrip().endswith(last)
    process.send_signal(signal.SIGTERM)  # nobody is there to get it


def test_each_of_several_has_its_own_end(nursery: Nursery, folder: Path) -> None:
    waiting, ending, killed = (run(nursery, folder, what) for what in ("wait", "exit", "wait"))
    assert eventually(lambda: name_of(waiting.pid) == "a-name-that-is-")
    killed.kill()
    assert (killed.wait(SECONDS), ending.wait(SECONDS)) == (-signal.SIGKILL, 7)
    assert waiting.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.1)
    waiting.terminate()
    assert waiting.wait(SECONDS) == -signal.SIGTERM


def test_forks_end_with_the_nursery(nursery: Nursery, folder: Path) -> None:
    process = run(nursery, folder, "wait")
    assert eventually(lambda: name_of(process.pid) != "python")
    os.kill(nursery.process.pid, signal.SIGKILL)
    assert process.wait(SECONDS) == -signal.SIGTERM
    assert eventually(lambda: process.pid not in parents())


def test_a_nursery_that_is_gone_is_done_without(nursery: Nursery, folder: Path) -> None:
    os.kill(nursery.process.pid, signal.SIGKILL)
    nursery.process.wait()
    assert nursery.ready()
    program = Program("it", [sys.executable, "-m", "behaves", "exit"], folder / "log", start=nursery.start)
    assert program.start(program, dict(os.environ)).wait(SECONDS) == 7


def test_what_is_no_module_is_started_by_itself(nursery: Nursery, folder: Path) -> None:
    program = Program("it", ["/bin/sh", "-c", "exit 3"], folder / "log", start=nursery.start)
    process = program.start(program, {})
    assert process.wait(SECONDS) == 3
    assert process.pid not in descendants(nursery.process.pid)


def test_it_says_when_it_is_ready_and_leaves_nothing_behind(folder: Path) -> None:
    with Nursery(["colorsys"]) as nursery:
        assert eventually(nursery.ready)
        process = run(nursery, folder, "wait")
        assert eventually(lambda: name_of(process.pid) != "python")
    assert nursery.process.poll() is not None
    assert eventually(lambda: process.pid not in parents())
