"""Standard output for a log: the lines of one turn of the event loop leave in one write."""

import asyncio
import sys


class Lines:
    """What `structlog.PrintLogger` prints to.

    A write lets other threads in, and to get back the interpreter's lock from one that predicts takes longer than the
    whole request before. Requests that ran as one batch end in one turn of the loop.
    """

    def __init__(self) -> None:
        self._held: list[str] = []
        self._planned = False

    def write(self, text: str) -> int:
        """Take a piece of text."""
        self._held.append(text)
        return len(text)

    def flush(self) -> None:
        """Write what is held: at the end of this turn of the loop, or at once where there is no loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write()
            return
        if not self._planned:
            self._planned = True
            loop.call_soon(self._write)

    def _write(self) -> None:
        text, self._held, self._planned = "".join(self._held), [], False
        sys.stdout.write(text)
        sys.stdout.flush()
