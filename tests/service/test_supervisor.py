"""Real processes: whatever happens to a supervisor, none of its children is left."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.programs import Program, StartFailed
from service.supervisor import Child, Supervisor

WAIT_SECONDS = 20.0

STACK = """
    import sys
    from pathlib import Path
    from service.programs import Program
    from service.supervisor import Supervisor

    folder = Path(sys.argv[1])
    base = Program("base", [sys.executable, folder / "child.py", folder, "base"], folder / "base.log", foundation=True)
    top = Program("top", [sys.executable, folder / "child.py", folder, "top"], folder / "top.log")
    with Supervisor(None, lambda line: print(line, flush=True)) as supervisor:
        supervisor.start(base)
        supervisor.start(top)
        supervisor.wait_until(lambda: (folder / "base.pids").exists() and (folder / "top.pids").exists(), 20, "stack")
        print("ready", flush=True)
        supervisor.watch()
    print("stopped", flush=True)
"""
CHILD = """
    import os, signal, subprocess, sys, time
    from pathlib import Path

    folder, name = Path(sys.argv[1]), sys.argv[2]
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def end(*_):
        with (folder / "order").open("a") as file:
            file.write(name + "\\n")
        if not (folder / "careless").exists():
            grandchild.kill()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    if (folder / "stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f"{name}.new").write_text(f"{os.getpid()} {grandchild.pid}")
    os.replace(folder / f"{name}.new", folder / f"{name}.pids")
    time.sleep(600)
"""


class Stack:
    """A supervisor in a process of its own, with two children that have one child each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "child.py").write_text(textwrap.dedent(CHILD))
        (folder / "stack.py").write_text(textwrap.dedent(STACK))
        self.process = subprocess.Popen(
            [sys.executable, folder / "stack.py", folder], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def pids(self, name: str) -> list[int]:
        """The child's process and the grandchild's."""
        return [int(pid) for pid in (self.folder / f"{name}.pids").read_text().split()]

    @property
    def all_pids(self) -> list[int]:
        """Every process below the supervisor."""
        return self.pids("base") + self.pids("top")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    started: list[Stack] = []

    def start(*marks: str) -> Stack:
        for mark in marks:
            (tmp_path / mark).touch()
        started.append(Stack(tmp_path))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()
        for pid in one.all_pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def running(pid: int) -> bool:
    """True while the process exists and is not a zombie that some init has yet to reap."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's alone")


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_children_and_grandchildren(stack: Callable[..., Stack], number: signal.Signals) -> None:
    one = stack("careless")
    pids = one.all_pids
    assert all(running(pid) for pid in pids)
    one.process.send_signal(number)
    assert one.process.wait(WAIT_SECONDS) == 0
    assert [pid for pid in pids if running(pid)] == []


@linux
def test_what_others_stand_on_stops_last(stack: Callable[..., Stack]) -> None:
    one = stack()
    one.process.terminate()
    one.process.wait(WAIT_SECONDS)
    assert (one.folder / "order").read_text().split() == ["top", "base"]


@linux
def test_a_second_signal_ends_children_that_do_not_listen(stack: Callable[..., Stack]) -> None:
    one = stack("stubborn")
    pids = one.all_pids
    for _ in range(3):  # one for each of the two rounds of stopping, and the first
        one.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert one.process.wait(WAIT_SECONDS) == 0
    assert [pid for pid in pids if running(pid)] == []


@linux
def test_sigkill_of_the_supervisor_leaves_nothing_behind(stack: Callable[..., Stack]) -> None:
    one = stack()
    pids = one.all_pids
    one.process.kill()
    assert eventually(lambda: not any(running(pid) for pid in pids))


@linux
def test_a_killed_child_is_started_again_and_its_leftovers_are_cleared(stack: Callable[..., Stack]) -> None:
    one = stack()
    child, grandchild = one.pids("top")
    base = one.pids("base")
    os.kill(child, signal.SIGKILL)
    assert eventually(lambda: child not in one.pids("top"))
    assert not running(grandchild)
    assert all(running(pid) for pid in one.all_pids)
    assert one.pids("base") == base
    one.process.terminate()
    output, _ = one.process.communicate(timeout=WAIT_SECONDS)
    assert output.startswith("top was killed by SIGKILL; starting it again in 0.5 s (log: ")


def program(tmp_path: Path, code: str, name: str = "one") -> Program:
    return Program(name, [sys.executable, "-c", code], tmp_path / f"{name}.log")


def test_finish_runs_a_program_to_its_end(tmp_path: Path) -> None:
    with Supervisor(None) as supervisor:
        supervisor.finish(program(tmp_path, "print('done')"))
        assert supervisor.children == []
    assert (tmp_path / "one.log").read_text() == "done\n"


def test_a_failed_program_is_reported_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; [print('line', i) for i in range(99)]; sys.exit('no such table')"
    with Supervisor(None) as supervisor, pytest.raises(StartFailed) as caught:
        supervisor.finish(program(tmp_path, code))
    message = str(caught.value)
    assert message.startswith("one ended with exit code 1:\n")
    assert "no such table" in message
    assert "line 98" in message
    assert "line 50\n" not in message


def test_a_child_that_dies_while_others_come_up_fails_the_start(tmp_path: Path) -> None:
    with Supervisor(None) as supervisor:
        steady = supervisor.start(program(tmp_path, "import time; time.sleep(600)", "steady"))
        supervisor.start(program(tmp_path, "raise SystemExit('port is taken')", "dying"))
        with pytest.raises(StartFailed, match=r"dying ended with exit code 1:\n  port is taken"):
            supervisor.wait_until(lambda: False, WAIT_SECONDS, "all")
    assert not steady.alive


def test_what_never_comes_up_is_reported_with_its_log(tmp_path: Path) -> None:
    with Supervisor(None) as supervisor:
        supervisor.start(program(tmp_path, "import time; time.sleep(600)"))
        with pytest.raises(StartFailed, match=r"redis did not come up within 0.1 s; see .*one\.log"):
            supervisor.wait_until(lambda: False, 0.1, "redis")


def test_pauses_grow_and_a_long_life_is_forgiven(tmp_path: Path) -> None:
    child = Child(program(tmp_path, "pass"), None)
    assert [child.plan_restart() for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    child.started_at -= 61
    assert child.plan_restart() == 0.5


def test_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    with Supervisor(None):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)] == before
