"""The programs of benchmarks/, which import one another by their own names."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


def program(name: str) -> ModuleType:
    """Import one of them."""
    if BENCHMARKS not in sys.path:
        sys.path.append(BENCHMARKS)  # behind everything else, so that it hides nothing
    return importlib.import_module(name)
