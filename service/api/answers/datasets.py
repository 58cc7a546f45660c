"""Answers about data sets."""

from typing import Any, Literal, Self

from service.api.answers.base import Answer, Count, Sha256, Time
from service.data.profile import ColumnProfile
from service.store import tables


class Dataset(Answer):
    """An uploaded file and what was found in it."""

    id: str
    """Id of the data set."""
    object: Literal["dataset"] = "dataset"
    """Always "dataset"."""
    name: str
    """Name for people."""
    format: Literal["csv", "parquet", "npz", "json", "images", "idx"]
    """Format that the file was read as."""
    rows: int
    """Number of rows."""
    columns: list[ColumnProfile]
    """The columns: types, missing values, the most frequent values and statistics."""
    size: Count
    """Bytes of the file."""
    sha256: Sha256
    """Hash of the file's bytes."""
    created_at: Time
    """When it was uploaded."""

    @classmethod
    def of(cls, row: tables.Dataset) -> Self:
        """Return the answer for a data set's row."""
        return cls(
            id=row.id,
            name=row.name,
            format=row.format,  # type: ignore[arg-type]  # written from the same names
            rows=row.rows,
            columns=shown_columns(row),
            size=row.size,
            sha256=row.sha256,
            created_at=row.created_at,
        )


class Preview(Answer):
    """The first rows of a data set."""

    dataset: str
    """Id of the data set."""
    columns: list[str]
    """Names of the columns."""
    rows: list[list[Any]]
    """The rows: one value a column, null where it is missing; tensors as nested lists."""
    total_rows: int
    """Number of rows of the whole data set."""


class Statistics(Answer):
    """What is known of every column without reading the data again."""

    dataset: str
    """Id of the data set."""
    rows: int
    """Number of rows."""
    columns: list[ColumnProfile]
    """The columns."""


def shown_columns(row: tables.Dataset) -> list[ColumnProfile]:
    """Return the columns of a data set's row as answers carry them."""
    return [ColumnProfile.model_validate(column).shown() for column in row.columns]
