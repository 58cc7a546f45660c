"""The building blocks of the language: a block is its JSON form and what it builds, in one class.

Importing the package imports every module in it, so that a new file takes part without being listed.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
