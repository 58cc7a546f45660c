"""What is known of a data set without reading it again: its columns, their types, values and statistics."""

from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

ColumnType = Literal["integer", "number", "boolean", "category", "tensor"]
Value = bool | int | float | str
"""One value of a column in its JSON type."""

VALUES_SHOWN = 100
"""Values of a column that an answer lists; the store keeps all that were counted."""


def key_of(value: Value) -> str:
    """Return a class as the key of an object: text as it is, else its JSON text, whole numbers without a point."""
    if isinstance(value, str):
        return value
    return orjson.dumps(int(value) if isinstance(value, float) and value.is_integer() else value).decode()


class ValueCount(BaseModel):
    """A value, and in how many rows it stands."""

    model_config = ConfigDict(frozen=True, strict=True)

    value: Value
    count: int


class ColumnProfile(BaseModel):
    """One column of a data set: type, missing values and what the values look like."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    """Name of the column, as in the file's header."""
    type: ColumnType
    """Integers and numbers are quantities, a boolean is true or false, a category text, a tensor an array a row."""
    missing: int = 0
    """Rows without a value; of a tensor: its elements that are not a number."""
    infinite: int = 0
    """Numbers that are infinite; they are in no statistic."""
    distinct: int | None = None
    """How many different values there are; null where they are too many to count, and for tensors."""
    min: float | None = None
    """Least number."""
    max: float | None = None
    """Largest number."""
    mean: float | None = None
    """Mean of the numbers."""
    std: float | None = None
    """Standard deviation of the numbers (of the population: divided by their count)."""
    categories: list[ValueCount] | None = None
    """The values and how many rows have each, most frequent first; null where they are too many to list."""
    shape: tuple[int, ...] | None = None
    """Shape of a tensor, without the rows."""
    dtype: str | None = None
    """Type of a tensor's elements, as NumPy calls it."""

    @property
    def values(self) -> tuple[Value, ...] | None:
        """Every value the column has, numbers in their order and text in the alphabet's; None when not listed."""
        if self.categories is None:
            return None
        return tuple(sorted((item.value for item in self.categories), key=_order))

    def shown(self) -> "ColumnProfile":
        """Return what an answer carries: the most frequent values of text, those of numbers only when they are few."""
        if self.categories is None or len(self.categories) <= VALUES_SHOWN:
            return self
        shown = self.categories[:VALUES_SHOWN] if self.type == "category" else None
        return self.model_copy(update={"categories": shown})


def _order(value: Value) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")


class Profile(BaseModel):
    """A whole file: how many rows, which columns, read as which format."""

    model_config = ConfigDict(frozen=True)

    rows: int = Field(ge=1)
    columns: list[ColumnProfile]
    format: str
