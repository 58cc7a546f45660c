"""From the body of an inference request to its JSON and its tensors."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from service.api.bodies import read_json
from service.api.inference.datatypes import DATATYPES, Tensor, from_json, from_raw, wrong
from service.api.inference.messages import InferRequest, InputTensor
from service.errors import InvalidInput, MalformedRequest, Problem, TooLarge, UnsupportedMediaType

HEADER_LENGTH = "Inference-Header-Content-Length"
ANY_OF_THEM = zlib.MAX_WBITS | 32
"""Has zlib find out whether data are in its own form, which is what deflate means in HTTP, or in gzip's."""


@dataclass(frozen=True)
class Body:
    """The bytes of a request, and what its headers say of them."""

    content: bytes
    encoding: str
    header_length: int | None
    """Bytes of JSON before the tensors; None: everything is JSON."""

    @classmethod
    def of(cls, content: bytes, headers: Mapping[str, str], header_length: int | None) -> "Body":
        """Return the body of a request.

        Raises:
            UnsupportedMediaType: It is compressed in another way than gzip and deflate.
        """
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise UnsupportedMediaType(f"Send the body as it is, or by gzip or deflate, not {encoding[:100]!r}.")
        return cls(content, encoding, header_length)

    def unpacked(self, limit: int) -> bytes:
        """Return the bytes as they were before they were compressed.

        Raises:
            MalformedRequest: They are not what Content-Encoding says.
            TooLarge: They are more than `limit`.
        """
        if self.encoding == "identity":
            return self.content
        unpacker = zlib.decompressobj(ANY_OF_THEM)
        try:
            unpacked = unpacker.decompress(self.content, limit + 1)
        except zlib.error as error:
            raise MalformedRequest(f"The body cannot be unpacked by {self.encoding}: {error}.") from error
        if len(unpacked) > limit:
            raise TooLarge(f"The body is larger than the {limit:,} bytes that are accepted here, once it is unpacked.")
        if not unpacker.eof or unpacker.unused_data:
            raise MalformedRequest(f"The body is not a whole piece of {self.encoding}.")
        return unpacked


def read(content: bytes, header_length: int | None) -> tuple[InferRequest, dict[str, Tensor]]:
    """Return a request and its input tensors by name.

    Raises:
        MalformedRequest: What should be JSON is none, or shorter than its header says.
        InvalidInput: The request is not as the protocol has it, or a tensor not as it is described.
    """
    if header_length is not None and header_length > len(content):
        raise MalformedRequest(
            f"{HEADER_LENGTH} says {str(header_length)[:20]}, but the body has only {len(content):,} bytes."
        )
    request = read_json(content if header_length is None else content[:header_length], InferRequest)
    rest = b"" if header_length is None else content[header_length:]
    tensors: dict[str, Tensor] = {}
    at = 0
    for described in request.inputs:
        if described.name in tensors:
            raise wrong(described.name, "is there twice", described.name)
        size = _size(described)
        tensors[described.name] = _tensor(described, None if size is None else rest[at : at + size])
        at += size or 0
    if at != len(rest):
        message = f"the tensors are said to take {at:,} bytes, and {len(rest):,} stand behind the JSON"
        raise InvalidInput([Problem("inputs", message, len(rest), at)])
    return request, tensors


def _size(described: InputTensor) -> int | None:
    """Return how many bytes of a tensor stand behind the JSON; None for none."""
    if "shared_memory_region" in described.parameters:
        raise wrong(described.name, "lies in shared memory, which is not looked into: send its data", None)
    size = described.parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise wrong(described.name, "binary_data_size must be a whole number of bytes", size)
    return size


def _tensor(described: InputTensor, raw: bytes | None) -> Tensor:
    name, shape = described.name, tuple(described.shape)
    if described.datatype not in DATATYPES:
        raise wrong(name, "has a datatype that the protocol does not know", described.datatype, list(DATATYPES))
    if raw is not None:
        return from_raw(name, described.datatype, shape, raw)
    return from_json(name, described.datatype, shape, described.data)
