"""Thrift's compact protocol, as far as the footers of Parquet files need it: to values and back, nothing lost.

A struct is a dict of its fields by number, each a pair of type and value; a list a pair of element type and values.

Reference: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, _, STRUCT = range(1, 13)
Struct = dict[int, tuple[int, Any]]


class ThriftReader:
    """Reads values off bytes, one behind the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> Struct:
        """Return the next struct."""
        fields: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = (head & 15, self._value(head & 15))
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (TRUE, FALSE):
            return None  # the type says it all
        if kind in (I16, I32, I64):
            return self._signed()
        if kind == BINARY:
            return self._take(self._unsigned())
        if kind in (LIST, SET):
            return self._list()
        if kind == STRUCT:
            return self.struct()
        return self._take({BYTE: 1, DOUBLE: 8}[kind])

    def _list(self) -> tuple[int, list[Any]]:
        head = self._byte()
        kind, count = head & 15, head >> 4
        count = self._unsigned() if count == 15 else count
        # In a list a truth value is a byte of its own.
        return kind, [self._byte() if kind in (TRUE, FALSE) else self._value(kind) for _ in range(count)]

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)


def encode(fields: Struct) -> bytes:
    """Return the bytes of a struct."""
    out = bytearray()
    last = 0
    for number, (kind, value) in sorted(fields.items()):
        step = number - last
        if 0 < step < 16:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            out += _signed(number)
        out += _encoded(kind, value)
        last = number
    return bytes(out) + b"\0"


def _encoded(kind: int, value: Any) -> bytes:
    if kind in (TRUE, FALSE):
        return b""
    if kind in (I16, I32, I64):
        return _signed(value)
    if kind == BINARY:
        return _unsigned(len(value)) + bytes(value)
    if kind in (LIST, SET):
        return _list(*value)
    return encode(value) if kind == STRUCT else bytes(value)


def _list(kind: int, values: list[Any]) -> bytes:
    head = bytes([len(values) << 4 | kind]) if len(values) < 15 else bytes([15 << 4 | kind]) + _unsigned(len(values))
    if kind in (TRUE, FALSE):
        return head + bytes(values)
    return head + b"".join(_encoded(kind, value) for value in values)


def _unsigned(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _signed(value: int) -> bytes:
    return _unsigned(value << 1 if value >= 0 else (-value << 1) - 1)
