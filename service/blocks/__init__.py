"""The building blocks. Importing this package imports every family, so that a new file needs no list."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
