"""What a child died of, in words."""

import signal

import pytest

from worker.deaths import death


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
