"""Predictions as they are sent: one JSON object a line, CSV or Parquet, piece by piece."""

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import orjson
import polars as pl

from service.predict.bulk.schema import Schema
from service.predict.bulk.stitching import Stitcher

GROUP_ROWS, GROUP_BYTES = 65_536, 8 << 20
"""When the predictions that wait for a row group of a Parquet file are enough for one."""
METADATA = "trainyard"
"""Key of a Parquet file's metadata under which stands, as JSON, what all predictions rest on."""


class Writer(ABC):
    """Makes the pieces of a body out of predictions."""

    media_type: ClassVar[str]
    suffix: ClassVar[str]
    tells_failures: ClassVar[bool] = True
    """Whether the body can end with a line that says why it is not whole; else it can only break off."""

    def __init__(self, schema: Schema, about: Mapping[str, Any]) -> None:
        self.schema, self.about = schema, about

    @abstractmethod
    def rows(self, predictions: Sequence[Mapping[str, Any]]) -> bytes:
        """Take predictions and return what can be sent by now."""

    def end(self) -> bytes:
        """Return what is left to be sent."""
        return b""


class LineWriter(Writer):
    """One JSON object a line, the same as an entry of `predictions` in an answer of JSON."""

    media_type = "application/x-ndjson"
    suffix = "ndjson"

    def rows(self, predictions: Sequence[Mapping[str, Any]]) -> bytes:
        """See `Writer.rows`."""
        return b"".join(orjson.dumps(prediction, option=orjson.OPT_APPEND_NEWLINE) for prediction in predictions)


class CsvWriter(Writer):
    """CSV with a header; what is an object has a column for each key, `probabilities.red`; a list is JSON in a cell."""

    media_type = "text/csv"
    suffix = "csv"

    def __init__(self, schema: Schema, about: Mapping[str, Any]) -> None:
        super().__init__(schema, about)
        self._begun = False

    def rows(self, predictions: Sequence[Mapping[str, Any]]) -> bytes:
        """See `Writer.rows`."""
        text = io.StringIO(newline="")
        lines = csv.writer(text, lineterminator="\n")
        if not self._begun:
            self._begun = True
            lines.writerow(_names(self.schema))
        lines.writerows(_cells(prediction) for prediction in predictions)
        return text.getvalue().encode()


def _names(schema: Schema) -> list[str]:
    names = []
    for name, kind in schema.items():
        names += [f"{name}.{field.name}" for field in kind.fields] if isinstance(kind, pl.Struct) else [name]
    return names


def _cells(prediction: Mapping[str, Any]) -> list[Any]:
    cells: list[Any] = []
    for value in prediction.values():
        cells += map(_cell, value.values()) if isinstance(value, dict) else [_cell(value)]
    return cells


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, list | bool) else value


class ParquetWriter(Writer):
    """Parquet, a row group whenever enough rows are there; objects are structs, and it ends with its footer or not."""

    media_type = "application/vnd.apache.parquet"
    suffix = "parquet"
    tells_failures = False

    def __init__(self, schema: Schema, about: Mapping[str, Any]) -> None:
        super().__init__(schema, about)
        # Parquet has no object without keys; who reads it puts back those of the fields that it lacks.
        self._kept = {name: kind for name, kind in schema.items() if not isinstance(kind, pl.Struct) or kind.fields}
        self._metadata = {METADATA: orjson.dumps({**about, "fields": list(schema)}).decode()}
        self._stitcher = Stitcher()
        self._held: list[pl.DataFrame] = []

    def rows(self, predictions: Sequence[Mapping[str, Any]]) -> bytes:
        """See `Writer.rows`."""
        # As columns they take a twentieth of what they take as objects.
        self._held.append(self.table(predictions))
        full = sum(table.height for table in self._held) >= GROUP_ROWS
        return self._group() if full or sum(table.estimated_size() for table in self._held) >= GROUP_BYTES else b""

    def end(self) -> bytes:
        """See `Writer.end`."""
        rest = self._group() if self._held else b""
        return rest + self._stitcher.end()

    def _group(self) -> bytes:
        held, self._held = self._held, []
        return self._stitcher.add(self.file(held))

    def table(self, predictions: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Return predictions as columns."""
        return pl.DataFrame(
            [
                pl.Series(name, [prediction[name] for prediction in predictions], dtype=kind)
                for name, kind in self._kept.items()
            ]
        )

    def file(self, tables: Sequence[pl.DataFrame]) -> bytes:
        """Return a whole file of one row group."""
        whole, file = pl.concat(tables), io.BytesIO()
        whole.write_parquet(file, row_group_size=whole.height, metadata=self._metadata)
        return file.getvalue()


WRITERS: dict[str, type[Writer]] = {kind.suffix: kind for kind in (LineWriter, CsvWriter, ParquetWriter)}
"""By what they are called: ndjson, csv, parquet."""


def written(predictions: Iterator[Sequence[Mapping[str, Any]]], writer: Writer) -> Iterator[bytes]:
    """Yield the pieces of a whole body; an empty one where there is nothing to send yet."""
    for some in predictions:
        yield writer.rows(some)
    yield writer.end()
