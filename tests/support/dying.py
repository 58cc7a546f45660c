"""Imported first by a process that is to end when the one that started it does."""

import os

from service.programs import end_with

if ask := end_with(os.getppid()):
    ask()
