"""The first rows of a data set, as JSON."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.answers.datasets import Preview
from service.data.formats import read_frame
from service.data.frame import Frame
from service.data.profile import ColumnProfile
from service.errors import InvalidInput, Problem
from service.store.blobs import read_blob
from service.store.engine import Store
from service.store.tables import Dataset

MAX_VALUES = 1_000_000


def first_rows(store: Store, dataset: Dataset, rows: int) -> Preview:
    """Return the first `rows` rows.

    Raises:
        InvalidInput: So many rows would hold more values than anyone can look at.
    """
    columns = [ColumnProfile.model_validate(column) for column in dataset.columns]
    values = sum(math.prod(column.shape or ()) for column in columns)
    if min(rows, dataset.rows) * values > MAX_VALUES:
        fitting = max(1, MAX_VALUES // values)
        message = f"is too many: a row holds {values:,} values, a preview at most {MAX_VALUES:,}"
        if rows > fitting:
            raise InvalidInput([Problem("rows", message, rows, {"ge": 1, "le": fitting})])
    frame = read_frame(read_blob(store, dataset.sha256), dataset.format, columns, None, rows)
    listed = [_listed(frame, column) for column in columns]
    return Preview(
        dataset=dataset.id,
        columns=[column.name for column in columns],
        rows=[list(row) for row in zip(*listed, strict=True)],
        total_rows=dataset.rows,
    )


def _listed(frame: Frame, column: ColumnProfile) -> list[Any]:
    values = frame[column.name].values
    if column.type == "category":
        return list(values)
    plain = _without_nan(values)
    kinds: dict[str, type] = {"integer": int, "boolean": bool}
    kind = kinds.get(column.type)
    return plain if kind is None else [None if value is None else kind(value) for value in plain]


def _without_nan(values: NDArray[np.generic]) -> list[Any]:
    """Return nested lists in which what is not finite is None: JSON has no NaN."""
    if not np.issubdtype(values.dtype, np.floating) or np.isfinite(values).all():
        return list(values.tolist())
    cleaned = values.astype(object)
    cleaned[~np.isfinite(values)] = None
    return list(cleaned.tolist())
