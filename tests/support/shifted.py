"""Runs another module with a clock that is wrong: `python -m tests.support.shifted SECONDS MODULE [ARGUMENTS]`.

Also what was imported before, with `from time import time` in it, is told the wrong time.
"""

import runpy
import sys
import time

_right, _by = time.time, float(sys.argv[1])


def _wrong() -> float:
    return _right() + _by


for _module in list(sys.modules.values()):
    for _name, _value in list(vars(_module).items()):
        if _value is _right and _module is not sys.modules[__name__]:
            setattr(_module, _name, _wrong)
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
