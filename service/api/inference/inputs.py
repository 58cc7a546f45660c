"""From tensors to rows: what each column of a model is called and takes, and the way back from arrays to cells."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from service.api.inference.datatypes import NUMPY, Tensor, from_raw, wrong
from service.api.inference.messages import InferRequest, InputTensor, TensorMetadata
from service.data.profile import ColumnProfile
from service.errors import InvalidInput, Problem
from service.findings import did_you_mean
from service.predict.cache import LoadedModel

WHOLE = "input"
"""The name of all columns side by side."""
NAMED_AT_MOST = 100
COLUMNS = {"integer": "INT64", "number": "FP64", "boolean": "BOOL", "category": "BYTES"}
"""The datatype that a column is described with."""
TENSORS = {np.dtype(code).name: name for name, code in NUMPY.items() if name != "BF16"}


def described(columns: tuple[ColumnProfile, ...]) -> list[TensorMetadata]:
    """Return the inputs of a model, one for each column."""
    return [
        TensorMetadata(name=column.name, datatype=_datatype(column), shape=[-1, *(column.shape or ())])
        for column in columns
    ]


def _datatype(column: ColumnProfile) -> str:
    if column.type == "tensor":
        return TENSORS.get(column.dtype or "", "FP32")
    return COLUMNS[column.type]


def from_bare_bytes(loaded: LoadedModel, content: bytes) -> tuple[InferRequest, dict[str, Tensor]]:
    """Return the request that bytes without any JSON stand for: the only column of a model.

    Raises:
        InvalidInput: The model has several columns, or one of text; or the bytes are no whole rows of it.
    """
    columns = loaded.features.columns
    if len(columns) > 1 or columns[0].type == "category":
        message = "bytes without JSON serve only a model with a single column, of numbers"
        raise InvalidInput([Problem("inputs", message, [column.name for column in columns[:NAMED_AT_MOST]])])
    (column,) = columns
    datatype, shape = _datatype(column), tuple(column.shape or ())
    rows = len(content) // (np.dtype(NUMPY[datatype]).itemsize * prod(shape))
    tensor = from_raw(column.name, datatype, (rows, *shape), content)
    described = InputTensor(name=column.name, shape=[rows, *shape], datatype=datatype)
    return InferRequest(inputs=[described]), {column.name: tensor}


def rows_of(loaded: LoadedModel, tensors: Mapping[str, Tensor]) -> list[Any]:
    """Return the rows that tensors hold, as `/v1` takes them; NaN is a missing value.

    Raises:
        InvalidInput: A tensor belongs to no column, a column has none, or shapes do not fit.
    """
    columns = loaded.features.columns
    if WHOLE in tensors and len(tensors) == 1 and WHOLE not in [column.name for column in columns]:
        return _side_by_side(columns, tensors[WHOLE])
    by_name = {column.name: column for column in columns}
    for name in tensors:
        if name not in by_name:
            known = list(by_name)[:NAMED_AT_MOST]
            raise wrong(name, "is no column of the model" + did_you_mean(name, known), name, known)
    missing = [name for name in by_name if name not in tensors and name not in loaded.features.fillable]
    if missing:
        message = "has no tensor, and the model has no step that fills the column in"
        raise InvalidInput([Problem(f"inputs.{name}", message) for name in missing[:NAMED_AT_MOST]])
    counts = {name: _rows(tensor) for name, tensor in tensors.items()}
    first, *_ = counts.values()
    for name, count in counts.items():
        if count != first:
            raise wrong(name, f"has another number of rows than the {first:,} of the tensor before", count, first)
    cells = [_cells(by_name[name], tensor) for name, tensor in tensors.items()]
    return [dict(zip(tensors, row, strict=True)) for row in zip(*cells, strict=True)]


def _rows(tensor: Tensor) -> int:
    if not tensor.values.ndim or not len(tensor.values):
        raise wrong(tensor.name, "must have at least one row along its first axis", list(tensor.values.shape))
    return len(tensor.values)


def _side_by_side(columns: tuple[ColumnProfile, ...], tensor: Tensor) -> list[Any]:
    """Return the rows of a tensor that holds all columns."""
    if len(columns) == 1 and columns[0].type == "tensor":
        return [{columns[0].name: row} for row in _cells(columns[0], tensor)] if _rows(tensor) else []
    strange = [column.name for column in columns if column.type not in ("integer", "number")]
    if strange:
        message = "serves only models whose columns are all numbers: send a tensor for each column"
        raise wrong(WHOLE, message, strange[:NAMED_AT_MOST], [column.name for column in columns[:NAMED_AT_MOST]])
    shape = list(tensor.values.shape)
    if len(shape) != 2 or shape[1] != len(columns) or tensor.datatype in ("BOOL", "BYTES"):
        raise wrong(WHOLE, "must hold numbers, [rows, columns]", [tensor.datatype, *shape], [-1, len(columns)])
    _rows(tensor)
    return [_numbers(row) for row in tensor.values.tolist()]


def _cells(column: ColumnProfile, tensor: Tensor) -> list[Any]:
    """Return the values of a column, one a row."""
    values, shape = tensor.values, tuple(column.shape or ())
    if column.type == "tensor":
        if values.shape[1:] != shape or tensor.datatype == "BYTES":
            raise wrong(column.name, "must hold numbers of its column's shape", list(values.shape), [-1, *shape])
        return list(values)
    if values.ndim > 2 or prod(values.shape[1:]) != 1:
        raise wrong(column.name, "must have one value a row", list(values.shape), [-1])
    return _numbers(values.reshape(len(values)).tolist())


def _numbers(values: list[Any]) -> list[Any]:
    """Return values with None where they are not a number, which is how JSON says that one is missing."""
    return [None if value != value else value for value in values]
