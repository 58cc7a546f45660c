"""What a safetensors file holds: names, types and shapes of its tensors, without reading their values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import safetensors
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from torch import nn

from service.errors import InvalidWeights, Problem

MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_TENSORS = 10_000
MAX_AXES = 16
MAX_NAME = 512
LENGTH_BYTES = 8
FLOATS = ("F64", "F32", "F16", "BF16")
"""Types that weights to learn may be stored in; they become float32."""
KINDS = (*FLOATS, "I64", "I32", "I16", "I8", "U8", "BOOL")
SCANNED_VALUES = 1 << 22
"""Values that are looked at in one go."""
PICKLES = {b"PK\x03\x04": "a ZIP, as torch.save writes it", b"\x80": "a pickle", b"\x89HDF": "HDF5"}
"""How files begin that people take for weights."""


class StoredTensor(BaseModel):
    """A tensor of a file."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    dtype: str
    """Type of its numbers, as safetensors calls it: F32, F16, BF16, I64, ..."""
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    """Its shape."""


Stored = Mapping[str, StoredTensor]
"""The tensors of a file by their names."""


def tensors_of(file: Any) -> dict[str, StoredTensor]:
    """Return what an open safetensors file holds, in the order of the names."""
    slices = {name: file.get_slice(name) for name in sorted(file.keys())}
    return {n: StoredTensor(dtype=s.get_dtype(), shape=tuple(s.get_shape())) for n, s in slices.items()}


def kept(network: nn.Module, members: int | None = None) -> dict[str, StoredTensor]:
    """Return the tensors that the file of a network of ours has, or that of an ensemble of so many of them."""
    stack = () if members is None else (members,)
    kinds, tensors = {True: "F32", False: "I64"}, network.state_dict().items()
    return {n: StoredTensor(dtype=kinds[t.is_floating_point()], shape=(*stack, *t.shape)) for n, t in tensors}


def inspect(path: Path) -> dict[str, StoredTensor]:
    """Return what a file from outside holds, having looked at its header and at every value.

    Raises:
        InvalidWeights: It is no safetensors file, its header is too long, a type is none that weights come in, or
            values are NaN or infinite.
    """
    _check_start(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            found = tensors_of(file)
            _check_tensors(found)
            for name in found:
                _check_values(name, file.get_tensor(name))
    except SafetensorError as error:
        raise _refusal(f"is no safetensors file: {str(error).splitlines()[0]}") from error
    return found


def _check_start(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
    kind = next((kind for magic, kind in PICKLES.items() if start.startswith(magic)), None)
    header = int.from_bytes(start, "little")
    room = path.stat().st_size - LENGTH_BYTES
    if len(start) == LENGTH_BYTES and header <= min(MAX_HEADER_BYTES, room):
        return
    if kind is not None:
        raise _refusal(f"is {kind}, which can run code when it is read: only safetensors is taken")
    if len(start) == LENGTH_BYTES and header <= room:
        raise _refusal(f"has a header of {header:,} bytes; at most {MAX_HEADER_BYTES:,} are read", header)
    raise _refusal("is no safetensors file: it does not begin with the length of its header")


def _check_tensors(found: Stored) -> None:
    if not 0 < len(found) <= MAX_TENSORS:
        raise _refusal(f"has {len(found):,} tensors; it must have 1 to {MAX_TENSORS:,}", len(found))
    for name, tensor in found.items():
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
            raise _refusal(f"has a tensor whose name is no text of 1 to {MAX_NAME} characters: {name[:80]!r}")
        if tensor.dtype not in KINDS:
            message = f"has a tensor {name!r} of type {tensor.dtype}"
            raise InvalidWeights([Problem("file", message, tensor.dtype, list(KINDS))])
        if len(tensor.shape) > MAX_AXES:
            raise _refusal(f"has a tensor {name!r} of {len(tensor.shape)} axes; at most {MAX_AXES} are read")


def _check_values(name: str, values: torch.Tensor) -> None:
    flat = values.flatten()
    for start in range(0, len(flat) if flat.is_floating_point() else 0, SCANNED_VALUES):
        if not bool(torch.isfinite(flat[start : start + SCANNED_VALUES]).all()):
            raise _refusal(f"has a tensor {name!r} with values that are NaN or infinite")


def _refusal(message: str, got: object = None) -> InvalidWeights:
    return InvalidWeights([Problem("file", message, got, "a safetensors file")])
