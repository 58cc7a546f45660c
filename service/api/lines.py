"""Standard output for a log: one JSON object a line; the lines of one turn of the event loop leave in one write."""

import asyncio
import logging
import sys
from datetime import UTC, datetime
from traceback import format_exception

import orjson


class Log:
    """Prints events of at least a level.

    A write lets other threads in, and to get back the interpreter's lock from one that predicts takes longer than the
    whole request before. Requests that ran as one batch end in one turn of the loop.
    """

    def __init__(self, level: str) -> None:
        self._least = logging.getLevelNamesMapping().get(level, logging.INFO)
        self._held: list[bytes] = []
        self._planned = False

    def info(self, event: str, **fields: object) -> None:
        """Print what is as it should be."""
        if self._least <= logging.INFO:
            self._print("info", event, fields)

    def error(self, event: str, error: BaseException, **fields: object) -> None:
        """Print a fault, and where in the program it came up."""
        if self._least <= logging.ERROR:
            self._print("error", event, fields | {"exception": "".join(format_exception(error)).rstrip("\n")})

    def _print(self, level: str, event: str, fields: dict[str, object]) -> None:
        """Print a line at the end of this turn of the loop, or at once where there is no loop."""
        line = fields | {"event": event, "level": level, "timestamp": datetime.now(UTC)}
        self._held.append(orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))
        if self._planned:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write()
        else:
            self._planned = True
            loop.call_soon(self._write)

    def _write(self) -> None:
        text, self._held, self._planned = b"".join(self._held).decode(), [], False
        sys.stdout.write(text)
        sys.stdout.flush()
