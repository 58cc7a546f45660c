"""What a child died of, in words."""

import os
import signal
import subprocess
import sys

import pytest

from tests.chaos.fleet import until
from worker.deaths import death, ended


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [
        (None, "(pid 7) died."),
        (3, "ended with the exit status 3."),
        (-signal.SIGSEGV, "not its own (SIGSEGV)."),
        (-signal.SIGKILL, "memory runs out (SIGKILL)."),
        (-signal.SIGHUP, "died (SIGHUP)."),
        (-99, "died of signal 99."),
    ],
)
def test_an_exit_status_is_told_in_words(exitcode: int | None, words: str) -> None:
    assert death(7, exitcode).endswith(words)


@pytest.mark.parametrize(
    ("code", "status"), [("import sys; sys.exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)]
)
def test_a_child_that_has_ended_is_seen_before_anybody_waits_for_it(code: str, status: int) -> None:
    child = subprocess.Popen([sys.executable, "-Sc", code])
    until(lambda: ended(child.pid) is not None, "it does not end", 10)
    assert ended(child.pid) == status
    assert child.wait() == status
    assert ended(child.pid) is None  # somebody has waited


def test_a_child_that_lives_has_not_ended() -> None:
    child = subprocess.Popen([sys.executable, "-Sc", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    assert ended(child.pid) is None
    child.communicate()
    assert ended(os.getpid()) is None
