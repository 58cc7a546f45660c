"""The rows of stored data sets and uploads, as a model reads them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from service.data.formats import Format, read_batches
from service.data.frame import Frame, rows_of
from service.data.numbering import numbered
from service.data.profile import ColumnProfile
from service.data.reader import opened
from service.data.row_files import open_rows
from service.data.row_tables import unfit
from service.errors import InvalidInput, InvalidRows, Problem
from service.predict.cache import LoadedModel
from service.predict.labelled import NUMBERS, matched
from service.store.blobs import read_blob
from service.store.engine import Store

BATCH_BYTES, BATCH_ROWS = 16 << 20, 8_192


def suited(loaded: LoadedModel, columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """Return the columns of a data set as the model reads them.

    Raises:
        InvalidInput: One is missing, or of a type that cannot be read as the model's.
    """
    by_name = {column.name: column for column in columns}
    wanted = matched(loaded.features.columns, by_name)
    problems = [
        Problem("dataset", f"column {column.name!r} holds {found.type}, and the model knows it as {column.type}")
        for column in loaded.features.columns
        if not _suits(column, found := by_name[column.name])
    ]
    if problems:
        raise InvalidInput(problems)
    return wanted


def _suits(column: ColumnProfile, found: ColumnProfile) -> bool:
    if "tensor" in (column.type, found.type) or column.type == "boolean":
        return column.type == found.type
    return column.type == "category" or found.type in NUMBERS


def stored_frames(
    store: Store, loaded: LoadedModel, sha256: str, format: str, columns: Sequence[dict[str, Any]] | None
) -> Iterator[Frame]:
    """Yield the rows of a blob; `columns` are the profiles of a data set's columns, None for an upload that has none.

    Raises:
        InvalidRows: Rows that do not fit the model, by paths `rows[i].COLUMN`.
        InvalidInput: A column of the data set is missing, or of another type.
        InvalidDataset: The file is not what its format calls for.
    """
    if columns is not None:
        yield from _of_dataset(store, loaded, sha256, format, [ColumnProfile.model_validate(c) for c in columns])
        return
    with opened(read_blob(store, sha256), seekable=True) as file:
        yield from open_rows(Path(file.name), format, loaded.features.columns, loaded.features.fillable).frames()


def _of_dataset(
    store: Store, loaded: LoadedModel, sha256: str, format: str, columns: Sequence[ColumnProfile]
) -> Iterator[Frame]:
    wanted = suited(loaded, columns)
    cells = sum(math.prod(column.shape or ()) for column in wanted)
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES // (8 * max(cells, 1))))
    start = 0
    for frame in read_batches(read_blob(store, sha256), Format(format), columns, wanted, rows):
        with numbered(start):
            if problems := unfit(frame, loaded.features.columns, loaded.features.fillable):
                raise InvalidRows(problems)
        yield frame
        start += rows_of(frame)
