"""Imputation: something in the place of missing values."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor

from service.blocks.base import Strict
from service.blocks.preprocessing import Preprocessing
from service.blocks.quantiles import quantiles_of
from service.blocks.statistics import Floats, statistics_of
from service.data.frame import Column, Fact, Facts, Frame, Frames
from service.data.graph_frame import MISSING, GraphFrame, Words
from service.errors import InvalidInput, Problem

SUFFIX = ":missing"


class Fills(Strict):
    """What imputation learns: what goes in the place of missing values, and which columns have an indicator."""

    columns: dict[str, str | float]
    indicators: list[str]


class Impute(Preprocessing):
    """Fills missing values with what the training rows have, or with a constant."""

    type: Literal["impute"] = "impute"
    learned = Fills
    fills: ClassVar[bool] = True
    strategy: Literal["mean", "median", "most_frequent", "constant"] = "mean"
    """What is put in: mean or median of a number column, the most frequent value of any, or `fill_value`."""
    fill_value: float | str | None = None
    """The constant: a number for number columns, text for categories."""
    indicator: bool = False
    """Add a 0/1 column, `NAME:missing`, for every column of the step that has missing values in the data set."""

    @model_validator(mode="after")
    def _check_constant(self) -> "Impute":
        if (self.strategy == "constant") != (self.fill_value is not None):
            raise ValueError('fill_value goes with strategy "constant", and only with it')
        return self

    def suits(self, fact: Fact) -> bool:
        """Tell whether the strategy has something for such a column."""
        return self._refusal(fact) is None

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse what the strategy has nothing for, and a name that the indicator would take twice."""
        if self.indicator and name + SUFFIX in facts:
            return f"cannot have an indicator: there is a column {name + SUFFIX!r}"
        return self._refusal(facts[name])

    def _refusal(self, fact: Fact) -> str | None:
        if fact.kind == "tensor":
            return "holds tensors, which cannot be imputed"
        if self.strategy in ("mean", "median") and fact.kind == "category":
            return f'holds categories, which have no {self.strategy}; use "most_frequent" or "constant"'
        if self.strategy == "constant" and isinstance(self.fill_value, str) != (fact.kind == "category"):
            return f"holds {'text' if fact.kind == 'category' else 'numbers'}, unlike fill_value {self.fill_value!r}"
        return None

    def plan(self, facts: Facts) -> Facts:
        """Nothing is missing behind the step; indicators stand at the end."""
        filled = {name: self._filled(facts[name]) for name in self.chosen(facts)}
        return facts | filled | {name + SUFFIX: Fact("number", indicator=True) for name in self._indicated(facts)}

    def _filled(self, fact: Fact) -> Fact:
        counts = fact.counts
        if counts is not None and self.fill_value is not None:
            merged = dict(counts)
            merged[self.fill_value] = merged.get(self.fill_value, 0) + fact.missing
            counts = tuple(sorted(merged.items()))
        return replace(fact, missing=0, counts=counts)

    def _indicated(self, facts: Facts) -> list[str]:
        return [name for name in self.chosen(facts) if self.indicator and facts[name].missing]

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn what goes in the place of missing values."""
        return {"columns": self._values(frames, self.chosen(facts)), "indicators": self._indicated(facts)}

    def _values(self, frames: Frames, names: list[str]) -> dict[str, float | str]:
        if self.fill_value is not None:
            return dict.fromkeys(names, self.fill_value)
        if self.strategy == "most_frequent":
            return _most_frequent(frames, names)
        if self.strategy == "median":
            return {name: float(found[0, 0]) for name, found in quantiles_of(frames, names, [0.5]).items()}
        return {name: float(known.center[0]) for name, known in statistics_of(frames, names).items()}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Put the learned values in."""
        codes = {name + SUFFIX: Column("number", _missing(frame[name]) * 1.0, True) for name in state["indicators"]}
        return frame | {name: _filled(frame[name], value) for name, value in state["columns"].items()} | codes

    def in_block(self, names: Sequence[str], state: dict[str, Any]) -> Callable[[Floats], Floats] | None:
        """Nothing is missing among finite numbers."""
        return None if state["indicators"] else lambda values: values

    def told_apart(self, state: dict[str, Any]) -> dict[str, list[str | float]]:
        return {name: [value] for name, value in state["columns"].items() if isinstance(value, str)}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        marks = [_absent(frame, name).double().unsqueeze(1) for name in state["indicators"]]
        fills = state["columns"]
        flat = [name for name in fills if name in frame.named]
        if flat:
            values, fill = frame.picked(flat), torch.tensor([float(fills[n]) for n in flat], dtype=torch.float64)
            frame = frame.with_numbers(flat, torch.where(values.isnan(), fill, values))
        for name in (name for name in fills if name not in flat):
            words = frame.words[name]
            codes = torch.where(words.codes == MISSING, words.known.index(fills[name]), words.codes)
            frame = frame.with_words(name, Words(codes, words.known))
        names = [name + SUFFIX for name in state["indicators"]]
        return frame.with_numbers(names, torch.cat(marks, dim=1)) if marks else frame


def _absent(frame: GraphFrame, name: str) -> Tensor:
    """Tell where a column of a graph lacks its value, bool [rows]."""
    if name in frame.words:
        return frame.words[name].codes == MISSING
    return frame.picked([name])[:, 0].isnan()


def _most_frequent(frames: Frames, names: list[str]) -> dict[str, float | str]:
    """Return the most frequent value of each column, of equally frequent ones the least; all that differ are held."""
    seen: dict[str, Counter[Any]] = {name: Counter() for name in names}
    for frame in frames if names else ():
        for name, counts in seen.items():
            known = frame[name].values[~_missing(frame[name])]
            if frame[name].kind == "category":
                counts.update(known.tolist())
            else:
                values, times = np.unique(known, return_counts=True)
                counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
    if empty := [name for name, counts in seen.items() if not counts]:
        raise InvalidInput([Problem("", f"column {empty[0]!r} has no values in the training rows", got=empty[0])])
    return {name: min((-times, value) for value, times in counts.items())[1] for name, counts in seen.items()}


def _missing(column: Column) -> NDArray[np.bool_]:
    values = column.values
    # Elementwise: `is None` would ask it of the whole array.
    missing: NDArray[np.bool_] = np.isnan(values) if column.kind == "number" else values == None  # noqa: E711
    return missing


def _filled(column: Column, value: float | str) -> Column:
    missing = _missing(column)
    if not missing.any():
        return column
    values = column.values.copy()
    values[missing] = value
    return Column(column.kind, values, column.indicator)
