"""Categories as whole numbers, and by a hash where they are too many."""

import hashlib
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from service.blocks.base import Strict
from service.blocks.encoding import Encoding, unknown_values
from service.blocks.preprocessing import Names, Preprocessing
from service.data.frame import Column, Fact, Facts, Frame, Frames
from service.data.graph_frame import GraphFrame
from service.errors import InvalidRows, NotExportable, Problem

MOST_CODES = 10_000
MISSING = "\x00missing"


class OrdinalState(Strict):
    """What ordinal encoding learns: the values of each column, in the order of their codes."""

    columns: dict[str, list[str | float]]


class Ordinal(Encoding):
    """The place of each value among those that the column has in the data set, sorted: 0, 1, 2, ...

    Codes say an order that categories rarely have; behind them belongs an `embedding`, or a scale that has one.
    """

    type: Literal["ordinal"] = "ordinal"
    learned = OrdinalState
    most = MOST_CODES
    otherwise = 'use "hash"'
    unknown: Literal["error", "ignore"] = "error"
    """What to do with a value that the data set lacks: refuse its row, or give it a code of its own, the last."""

    def plan(self, facts: Facts) -> Facts:
        """A column becomes numbers, in the same place."""
        more = self.unknown == "ignore"
        return facts | {
            name: replace(facts[name], kind="number", counts=None, vocabulary=len(facts[name].counts or ()) + more)
            for name in self.chosen(facts)
        }

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Keep the values of the data set."""
        return {"columns": {name: [value for value, _ in facts[name].counts or ()] for name in self.chosen(facts)}}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Set the codes.

        Raises:
            InvalidRows: A value is unknown, and not to be ignored; paths are `rows[i].COLUMN`.
        """
        return frame | {name: self._coded(name, frame[name], values) for name, values in state["columns"].items()}

    def told_apart(self, state: dict[str, Any]) -> dict[str, list[str | float]]:
        return dict(state["columns"])

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        for name, values in state["columns"].items():
            found = frame.places(name, values).double()
            otherwise = len(values) if self.unknown == "ignore" else torch.nan
            codes = torch.where(found < 0, otherwise, found).unsqueeze(1)
            frame = replace(frame, words={n: words for n, words in frame.words.items() if n != name})
            frame = frame.with_numbers([name], codes)
        return frame

    def _coded(self, name: str, column: Column, values: list[Any]) -> Column:
        places = {value: i for i, value in enumerate(values)}
        otherwise = len(values) if self.unknown == "ignore" else -1
        codes = np.array([places.get(value, otherwise) for value in column.values.tolist()], np.float64)
        if (codes < 0).any():
            raise InvalidRows(unknown_values(name, column, np.flatnonzero(codes < 0), values))
        return Column("number", codes)


class Hash(Preprocessing):
    """A vector of `buckets` numbers with a 1 (or, when `signed`, -1 or 1) where the hash of the value falls.

    For columns of very many values; values that fall together cannot be told apart. Missing values have a hash, too.
    The hash is BLAKE2b, the same on every machine.

    Reference: Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning", eq. 1.
    """

    type: Literal["hash"] = "hash"
    learned = Names
    fills = True
    buckets: Annotated[int, Field(ge=2, le=10_000)] = 64
    """Length of the vector."""
    signed: bool = False
    """Whether another bit of the hash decides the sign, so that values that fall together cancel out on average."""

    def suits(self, fact: Fact) -> bool:
        """Tell whether the column holds categories."""
        return fact.kind == "category"

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse tensors, and numbers that are no categories."""
        return None if facts[name].kind == "category" else "holds numbers, which are not hashed"

    def plan(self, facts: Facts) -> Facts:
        """A column becomes a vector, in the same place."""
        made = Fact("tensor", (self.buckets,), indicator=True)
        return facts | dict.fromkeys(self.chosen(facts), made)

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn nothing."""
        return {"columns": dict.fromkeys(self.chosen(facts))}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Set the numbers."""
        return frame | {name: self._hashed(frame[name]) for name in state["columns"]}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        message = "hashes text by BLAKE2b, for which graphs have no operation"
        raise NotExportable([Problem("", message, self.type, ["one_hot", "ordinal"])])

    def _hashed(self, column: Column) -> Column:
        values = column.values.tolist()
        places = {value: self._place(value) for value in set(values)}
        found = np.array([places[value] for value in values], np.int64).reshape(-1, 2)
        hashed = np.zeros((len(values), self.buckets), np.int8)
        hashed[np.arange(len(values)), found[:, 0]] = found[:, 1]
        return Column("tensor", hashed, True)

    def _place(self, value: str | None) -> tuple[int, int]:
        digest = hashlib.blake2b((MISSING if value is None else value).encode(), digest_size=9).digest()
        sign = 1 - 2 * (digest[8] & 1) if self.signed else 1
        return int.from_bytes(digest[:8], "little") % self.buckets, sign
