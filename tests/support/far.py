"""Runs another module in a network namespace: `python -m tests.support.far NAME MODULE [ARGUMENTS]`."""

import ctypes
import os
import runpy
import sys
from pathlib import Path

NETWORK = 0x40000000
"""CLONE_NEWNET of <sched.h>."""

with Path("/var/run/netns", sys.argv[1]).open("rb") as _namespace:
    if ctypes.CDLL(None, use_errno=True).setns(_namespace.fileno(), NETWORK) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
