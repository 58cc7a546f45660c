"""Tensors as the protocol has them: names of datatypes, raw bytes (little-endian, row-major), and values in JSON.

Reference: open-inference-protocol, `inference_rest.md`; triton, `extension_binary_data.md`.
"""

import struct
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput, Problem

Array = NDArray[Any]

NUMPY: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "BF16": "<u2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
"""What NumPy calls a datatype of the protocol; it has no BF16, whose bits are the upper half of FP32's."""
DATATYPES = (*NUMPY, "BYTES")
FLOATS = ("FP16", "BF16", "FP32", "FP64")
LENGTH = struct.Struct("<I")
"""What stands before every element of a BYTES tensor."""


@dataclass(frozen=True)
class Tensor:
    """A named tensor; one of BYTES holds `bytes` or `str` objects."""

    name: str
    datatype: str
    values: Array
    parameters: dict[str, Any] = field(default_factory=dict)

    def array(self) -> Array:
        """Return its values as NumPy has its datatype, which is none of text."""
        return np.ascontiguousarray(self.values, NUMPY[self.datatype])

    def raw(self) -> bytes:
        """Return its bytes as they go over the wire."""
        if self.datatype != "BYTES":
            return self.array().tobytes()
        words = [word.encode() for word in self.values.ravel().tolist()]
        return b"".join(part for word in words for part in (LENGTH.pack(len(word)), word))

    def listed(self) -> list[Any]:
        """Return its values in JSON, one flat list, row by row."""
        values: list[Any] = self.values.ravel().tolist()
        return values


def from_raw(name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> Tensor:
    """Return the tensor that raw bytes hold.

    Raises:
        InvalidInput: They are not as many as its shape needs.
    """
    if datatype == "BYTES":
        return Tensor(name, datatype, _words(name, shape, raw))
    dtype = np.dtype(NUMPY[datatype])
    if len(raw) != prod(shape) * dtype.itemsize:
        message = f"its shape {list(shape)} of {datatype} takes {prod(shape) * dtype.itemsize:,} bytes"
        raise wrong(name, message, len(raw))
    values = np.frombuffer(raw, np.uint8) != 0 if datatype == "BOOL" else np.frombuffer(raw, dtype)
    if datatype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return Tensor(name, datatype, values.reshape(shape))


def _words(name: str, shape: tuple[int, ...], raw: bytes) -> Array:
    words, at = [], 0
    while at + LENGTH.size <= len(raw):
        (length,) = LENGTH.unpack_from(raw, at)
        at += LENGTH.size
        words.append(raw[at : at + length])
        at += length
    if at != len(raw) or len(words) != prod(shape):
        raise wrong(name, f"its bytes are not {prod(shape):,} elements, each behind its length in 4 bytes", len(raw))
    return _objects([_decoded(name, word) for word in words], shape)


def _decoded(name: str, word: bytes) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError as error:
        raise wrong(name, "holds an element that is not UTF-8", None) from error


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: object) -> Tensor:
    """Return the tensor that a list holds, flat or nested; null is a missing number.

    Raises:
        InvalidInput: It holds other values than its datatype has, or not as many as its shape needs.
    """
    values = _flat(data)
    if values is None or len(values) != prod(shape):
        message = f"its data must be a list of {prod(shape):,} values, flat or nested, as the shape says"
        raise wrong(name, message, None if values is None else len(values))
    kinds, say = _IN_JSON.get(datatype, ((int,), "whole numbers"))
    strange = next((value for value in values if type(value) not in kinds), None)
    if {type(value) for value in values} - set(kinds):
        raise wrong(name, f"{datatype} is {say}", strange)
    if datatype == "BYTES":
        return Tensor(name, datatype, _objects(values, shape))
    dtype = np.float32 if datatype == "BF16" else np.dtype(NUMPY[datatype])
    try:
        found = np.array(values, dtype)
    except OverflowError as error:
        raise wrong(name, f"holds a number that {datatype} does not reach to", None) from error
    return Tensor(name, datatype, found.reshape(shape))


_IN_JSON: dict[str, tuple[tuple[type, ...], str]] = {
    "BOOL": ((bool,), "true or false"),
    "BYTES": ((str,), "text"),
    **dict.fromkeys(FLOATS, ((int, float, type(None)), "numbers")),
}


def _flat(data: object) -> list[Any] | None:
    """Return the values of nested lists one after the other; None for what is no list, or lists and values mixed."""
    if not isinstance(data, list):
        return None
    values: list[Any] = data
    while values and isinstance(values[0], list):
        if not all(isinstance(part, list) for part in values):
            return None
        values = [value for part in values for value in part]
    return None if any(isinstance(value, list | dict) for value in values) else values


def _objects(values: list[Any], shape: tuple[int, ...]) -> Array:
    found = np.empty(len(values), object)
    found[:] = values
    return found.reshape(shape)


def wrong(name: str, message: str, got: object, allowed: object = None) -> InvalidInput:
    """Return the error for an input tensor."""
    return InvalidInput([Problem(f"inputs.{name}", message, got, allowed)])
