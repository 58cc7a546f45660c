"""Encoding: categories to 0/1 codes."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from service.blocks.base import Strict
from service.blocks.preprocessing import Preprocessing
from service.data.frame import Column, Fact, Facts, Frame, Frames
from service.data.graph_frame import GraphFrame
from service.errors import InvalidRows, Problem

LARGEST_WIDTH = 1_000
"""Most values of a column that is encoded."""
_PROBLEMS = 100


class Codes(Strict):
    """The values of a column that have a code each, and those that share one."""

    values: list[str | float]
    rare: list[str | float]


class OneHotState(Strict):
    """What one-hot encoding learns."""

    columns: dict[str, Codes]


class Encoding(Preprocessing):
    """Base of what gives every value of a column of categories a code."""

    most: ClassVar[int]
    """Different values of a column."""
    otherwise: ClassVar[str]
    """What to do with a column that has more."""

    def suits(self, fact: Fact) -> bool:
        """Tell whether the column holds categories."""
        return fact.kind == "category"

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse columns with missing values, and with too many different ones."""
        fact = facts[name]
        if fact.kind == "tensor":
            return "holds tensors, which have no codes"
        if fact.missing:
            return 'has missing values; put an "impute" step before this one'
        if fact.counts is None or len(fact.counts) > self.most:
            return f"has more than {self.most:,} different values; {self.otherwise}"
        return None


class OneHot(Encoding):
    """A 0/1 code for each value that the column has in the data set, sorted."""

    type: Literal["one_hot"] = "one_hot"
    learned = OneHotState
    most = LARGEST_WIDTH
    otherwise = "leave it out of data.features"
    unknown: Literal["error", "ignore"] = "error"
    """What to do with a value that the data set lacks: refuse its row, or set no code but that of rare values."""
    min_frequency: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = 1
    """Values in fewer rows than this number, or share, of the data set have one code together."""

    def plan(self, facts: Facts) -> Facts:
        """A column becomes a vector of its codes, in the same place."""
        widths = {name: _width(self._codes(facts[name])) for name in self.chosen(facts)}
        return facts | {
            name: replace(facts[name], kind="tensor", shape=(width,), counts=None, indicator=True)
            for name, width in widths.items()
        }

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Keep the values of the data set."""
        return {"columns": {name: self._codes(facts[name]) for name in self.chosen(facts)}}

    def _codes(self, fact: Fact) -> dict[str, list[Any]]:
        counts = fact.counts or ()
        least = self.min_frequency
        if isinstance(least, float):
            least = least * sum(count for _, count in counts)
        return {
            "values": [value for value, count in counts if count >= least],
            "rare": [value for value, count in counts if count < least],
        }

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Set the codes.

        Raises:
            InvalidRows: A value is unknown, and not to be ignored; paths are `rows[i].COLUMN`.
        """
        return frame | {name: self._encoded(name, frame[name], codes) for name, codes in state["columns"].items()}

    def told_apart(self, state: dict[str, Any]) -> dict[str, list[str | float]]:
        return {name: [*codes["values"], *codes["rare"]] for name, codes in state["columns"].items()}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        for name, codes in state["columns"].items():
            last = len(codes["values"])
            found = frame.places(name, [*codes["values"], *codes["rare"]])
            if codes["rare"]:
                found = found.clamp_max(last)
                found = torch.where(found < 0, last, found) if self.unknown == "ignore" else found
            encoded = (found.unsqueeze(1) == torch.arange(_width(codes))).float()
            if self.unknown == "error":
                encoded = torch.where(found.unsqueeze(1) < 0, torch.nan, encoded)
            frame = frame.with_tensor(name, encoded)
        return frame

    def _encoded(self, name: str, column: Column, codes: dict[str, list[Any]]) -> Column:
        last = len(codes["values"])
        places = {value: i for i, value in enumerate(codes["values"])} | dict.fromkeys(codes["rare"], last)
        otherwise = last if codes["rare"] and self.unknown == "ignore" else -1
        found = np.array([places.get(value, otherwise) for value in column.values.tolist()], np.int64)
        known = found >= 0
        if self.unknown == "error" and not known.all():
            raise InvalidRows(unknown_values(name, column, np.flatnonzero(~known), list(places)))
        encoded = np.zeros((len(found), _width(codes)), np.uint8)
        encoded[known, found[known]] = 1
        return Column("tensor", encoded, True)


def _width(codes: dict[str, list[Any]]) -> int:
    return len(codes["values"]) + bool(codes["rare"])


def unknown_values(name: str, column: Column, rows: Any, known: list[Any]) -> list[Problem]:
    """Return what is said of rows whose value no step knows."""
    return [
        Problem(f"rows[{i}].{name}", "the model does not know this value", column.values[i], known[:_PROBLEMS])
        for i in rows[:_PROBLEMS].tolist()
    ]
