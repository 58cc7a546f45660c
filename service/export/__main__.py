"""Writes one model as a file, in a process of its own: `python -m service.export`.

To follow a network takes seconds of Python, changes global states of torch, and loads ONNX: nothing for a server that
is to answer others meanwhile. The order is a line of JSON on standard input, which stays open: when it closes, whoever
gave the order is gone, and so is this process. The answer is one line of JSON on standard output.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import orjson

from service.errors import CorruptBlob, NotExportable, NotFound
from service.export.files import write
from service.predict.cache import load
from service.predict.predict import use_threads
from service.settings import Settings
from service.store import models
from service.store.engine import open_store

NICE = 5
"""Predictions go before."""


def main() -> None:
    """Carry out one order."""
    order = orjson.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_order, daemon=True).start()
    os.nice(NICE)
    sys.stdout.buffer.write(orjson.dumps(_carried_out(Settings(), **order)))
    sys.stdout.buffer.flush()
    os._exit(0)  # nothing is left to be done, and taking torch apart takes a while


def _end_with_the_order() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _carried_out(settings: Settings, model: str, format: Any, dropout: bool, file: str) -> dict[str, Any]:
    use_threads(settings.predict_threads)
    store = open_store(settings.effective_database_url)
    try:
        with store.read() as session:
            row = models.get(session, model)
        data, checked = write(row, load(store, model), format, dropout=dropout)
    except NotExportable as error:
        return {"refused": [vars(problem) for problem in error.problems]}
    except (NotFound, CorruptBlob) as error:
        return {"failed": error.code, "message": error.message}
    Path(file).write_bytes(data)
    return {"checked": checked.to_json()}


if __name__ == "__main__":
    main()
