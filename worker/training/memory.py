"""When memory runs out: whether it did, and a sentence that says what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from service.failures import OutOfMemory
from service.memory import TrainingMemory, size_in_words

NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc", "alloc_failed")
"""What torch says on a processor, where it has no error of its own for it."""


def ran_out(error: BaseException) -> bool:
    """Return whether an error says that there is no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


@contextmanager
def told_apart(memory: TrainingMemory | None, rows: int) -> Iterator[None]:
    """Turn whatever says that memory ran out into an error that names the estimate for batches of `rows` rows.

    Raises:
        OutOfMemory: It ran out.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(_sentence(memory, rows, error)) from error


def _sentence(memory: TrainingMemory | None, rows: int, error: Exception) -> str:
    what = (str(error) or type(error).__name__).splitlines()[0]
    if memory is None:
        return f"Memory ran out while the data were read; use fewer rows or columns. ({what})"
    row = memory.of(rows) - memory.of(0)
    parts = f"{size_in_words(row)} of it for batches of {rows:,} rows, {size_in_words(memory.data_bytes)} for the data"
    mend = "a smaller training.batch_size" if 2 * row > memory.of(rows) else "a smaller network"
    return (
        f"Memory ran out: training takes about {size_in_words(memory.of(rows))} by estimate, {parts}. "
        f"Try {mend}, or a worker with more memory. ({what})"
    )
