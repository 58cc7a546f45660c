"""CSV: cut at the ends of records into blocks that are parsed one at a time.

polars parses plain blocks; the rare ones it reads differently from RFC 4180 as people write it (blank
lines, a blank before an opening quote, ragged records) go through Python's own parser.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from service.data import text
from service.data.collector import Collector
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, check_names, invalid
from service.data.table import TableCollector

BLOCK = 2 << 20
LONGEST_RECORD = 16 << 20
_DELIMITERS = ",;\t|"
_BLANK_LINE = (ord("\n"), ord("\r"))
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _Block:
    """Whole records, where they begin in the file, and the number of their first line."""

    data: bytes
    offset: int
    line: int


@dataclass(frozen=True)
class _Header:
    names: list[str]
    delimiter: str


def _blocks(file: BinaryIO, size: int) -> Iterator[_Block]:
    """Cut the file after the last line end that is not inside quotes, about every `size` bytes."""
    rest, offset, line = file.read(len(_BOM)), 0, 1
    if rest == _BOM:
        rest, offset = b"", len(_BOM)
    while True:
        piece = file.read(max(size - len(rest), size // 2, 1))
        data = rest + piece
        cut = _last_record_end(data) if piece else len(data)
        if not cut and len(data) > LONGEST_RECORD:
            raise invalid(f"the record at line {line} is longer than {LONGEST_RECORD >> 20} MiB; is a quote left open?")
        if cut:
            yield _checked(_Block(data[:cut], offset, line))
            line += data.count(b"\n", 0, cut)
            offset += cut
        rest = data[cut:]
        if not piece:
            return


def _last_record_end(data: bytes) -> int:
    """Return the place after the last line end with an even number of quotes before it, 0 if there is none."""
    quotes, end = data.count(b'"'), len(data)
    while (place := data.rfind(b"\n", 0, end)) >= 0:
        quotes -= data.count(b'"', place, end)
        if quotes % 2 == 0:
            return place + 1
        end = place
    return 0


def _checked(block: _Block) -> _Block:
    if (place := block.data.find(b"\x00")) >= 0:
        raise invalid(f"the file is not UTF-8 text: NUL at byte {block.offset + place}", allowed="CSV in UTF-8")
    if not block.data.isascii():
        try:
            block.data.decode()
        except UnicodeDecodeError as error:
            message = f"the file is not UTF-8: byte {block.offset + error.start} is {block.data[error.start]:#04x}"
            raise invalid(message, allowed="CSV in UTF-8") from error
    return block


def tables(file: BinaryIO, size: int, limits: Limits | None = None) -> Iterator[tuple[_Header, pl.DataFrame]]:
    """Parse the file: its header, with one table of text after another (the first may be empty)."""
    header = None
    for block in _blocks(file, size):
        if header is None and (found := _read_header(block)):
            header, block = found
            if limits:
                limits.check_columns(len(header.names))
            check_names(header.names)
        if header:
            yield header, _parse(block, header)
    if header is None:
        raise invalid("the file is empty")


def _read_header(block: _Block) -> tuple[_Header, _Block] | None:
    """Take the first line that is not blank off the block, if it has one."""
    end = 0
    while end < len(block.data):
        start, end = end, _record_end(block.data, end)
        record = block.data[start:end].decode().strip("\r\n")
        if record.strip(text.BLANKS):
            line = block.line + block.data.count(b"\n", 0, end)
            header = _names(record, block.line + block.data.count(b"\n", 0, start))
            return header, _Block(block.data[end:], block.offset + end, line)
    return None


def _names(record: str, line: int) -> _Header:
    """Return the names in the header; its commonest delimiter outside quotes is the file's."""
    if "\r" in record:
        raise invalid("lines end in carriage returns alone", allowed="line ends LF or CRLF")
    delimiter = _delimiter(record)
    csv.field_size_limit(LONGEST_RECORD)
    try:
        names = next(csv.reader([record], delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise invalid(f"line {line}, the header, is no CSV record: {error}") from error
    return _Header([name.strip() for name in names], delimiter)


def _record_end(data: bytes, start: int) -> int:
    """Return the place after the first line end from `start` with an even number of quotes between."""
    quotes = 0
    while (end := data.find(b"\n", start) + 1) > 0:
        quotes += data.count(b'"', start, end)
        if quotes % 2 == 0:
            return end
        start = end
    return len(data)


def _delimiter(record: str) -> str:
    outside = "".join(record.split('"')[::2])
    return max(_DELIMITERS, key=outside.count)


def _parse(block: _Block, header: _Header) -> pl.DataFrame:
    """Return the block's records, every cell as text."""
    if not block.data.strip(b"\r\n"):
        return pl.DataFrame(schema=dict.fromkeys(header.names, pl.String))
    if _is_plain(block.data, header):
        try:
            return pl.read_csv(
                block.data,
                has_header=False,
                schema=dict.fromkeys(header.names, pl.String),
                separator=header.delimiter,
                glob=False,
            )
        except pl.exceptions.PolarsError:
            pass  # Python's parser finds the line, or reads what polars cannot.
    return _parse_slowly(block, header)


def _is_plain(data: bytes, header: _Header) -> bool:
    """True when polars reads these records as everybody does: equal length, no blank lines, no blank before quotes."""
    mark = ord(header.delimiter)
    whole = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(whole[:-1] == ord("\n"))
    if whole[0] in _BLANK_LINE or np.isin(whole[ends + 1], _BLANK_LINE).any():
        return False
    if b'"' in data:
        quotes = np.flatnonzero(whole == ord('"'))
        padded = quotes[whole[quotes - 1] == ord(" ")]
        if np.isin(whole[padded - 2], (mark, ord("\n"))).any() or data.startswith(b' "'):
            return False
        whole = np.frombuffer(b"".join(data.split(b'"')[::2]), np.uint8)
    records = np.count_nonzero(whole == ord("\n")) + (not data.endswith(b"\n"))
    # Too many fields in a record make polars raise, so that an equal sum leaves no record with too few.
    return bool(np.count_nonzero(whole == mark) == records * (len(header.names) - 1))


def _parse_slowly(block: _Block, header: _Header) -> pl.DataFrame:
    csv.field_size_limit(LONGEST_RECORD)
    lines = io.StringIO(block.data.decode(), newline="")
    parser = csv.reader(lines, delimiter=header.delimiter, skipinitialspace=True, strict=True)
    records: list[list[str]] = []
    line = block.line
    try:
        for record in parser:
            if len(record) == len(header.names):
                records.append(record)
            elif len(record) > 1 or (record and record[0].strip(text.BLANKS)):
                raise _ragged(line, header, record)
            line = block.line + parser.line_num
    except csv.Error as error:
        raise invalid(f"line {line} is no CSV record: {error}") from error
    schema = dict.fromkeys(header.names, pl.String)
    return pl.DataFrame(records, schema=schema, orient="row") if records else pl.DataFrame(schema=schema)


def _ragged(line: int, header: _Header, record: list[str]) -> Exception:
    expected = len(header.names)
    return invalid(
        f"line {line} has {len(record)} fields, the header has {expected}", got=len(record), allowed=expected
    )


def profile(path: Path, limits: Limits) -> Profile:
    """Profile a CSV file."""
    table, rows = TableCollector(), 0
    with path.open("rb") as file:
        for header, block in tables(file, BLOCK, limits):
            table.columns = table.columns or [Collector(name, written=True) for name in header.names]
            table.add(block.get_columns())
            rows += block.height
    return table.finish(rows, Format.CSV)


def read(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int | None) -> Frame:
    """Read columns of a CSV file."""
    parts: dict[str, list[Column]] = {column.name: [] for column in wanted}
    left = rows
    for table in _stored(file, columns, BLOCK if rows is None else BLOCK // 16):
        table = table if left is None else table.head(left)
        for column in wanted:
            parts[column.name].append(text.column_of(table[column.name], column))
        left = None if left is None else left - table.height
        if left == 0:
            break
    return {name: text.joined(columns) for name, columns in parts.items()}


def batches(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int) -> Iterator[Frame]:
    """Yield columns of a CSV file, some rows at a time."""
    for table in _stored(file, columns, min(BLOCK, max(BLOCK // 16, rows * len(columns)))):
        for part in table.iter_slices(rows):
            yield {column.name: text.column_of(part[column.name], column) for column in wanted}


def _stored(file: BinaryIO, columns: list[ColumnProfile], size: int) -> Iterator[pl.DataFrame]:
    """Parse a file that is already profiled."""
    for header, table in tables(file, size):
        if header.names != [column.name for column in columns]:
            raise invalid("the header is not the one the data set was stored with", got=header.names)
        yield table


READER = Reader(profile, read, batches, needs_seek=False)
