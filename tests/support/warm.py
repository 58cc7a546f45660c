"""Real processes without their start, in which some tests would import everything dozens of times."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from service.forks import IMPORTED, Nursery
from service.programs import Process

__all__ = ["Process", "warm_process"]
nursery = cache(lambda: Nursery(["tests.support.dying", *IMPORTED]))


def warm_process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """Start a process for a command `[python, "-m", module, ...]`; it ends with this process."""
    return nursery().fork(command, environment, log, command[2])
