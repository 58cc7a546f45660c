"""Preprocessing: fitted on the training rows only, stored with the model, applied to raw rows.

Which values a category column may have, and whether a column has missing values at all, are facts of
the data set, known before any row is read; so is, therefore, the shape that a step gives. Beyond that,
steps look at nothing but the training rows, frame by frame: a data set need not fit into memory.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from service.blocks.base import Block, OneOf, Strict
from service.data.frame import Fact, Facts, Frame, Frames
from service.data.graph_frame import GraphFrame
from service.errors import Problem


class Names(Strict):
    """State of a step that learns nothing but which columns it works on."""

    columns: dict[str, None]


class Preprocessing(Block):
    """One step from raw columns to numbers that a network can take."""

    family = "preprocessing"
    fills: ClassVar[bool] = False
    """True when the step puts something in the place of missing values."""
    waits: ClassVar[bool] = False
    """True when the step can wait for the batch: `in_batch` does the same there, so that integers stay integers."""

    learned: ClassVar[type[Strict]]
    """What `fit` returns, as a model that values from elsewhere are held against."""

    columns: Annotated[list[str], Field(min_length=1)] | None = None
    """Columns the step works on; default: every column it suits."""

    def suits(self, fact: Fact) -> bool:
        """Tell whether the step works on such a column without being asked to."""
        raise NotImplementedError

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Return why the step cannot work on a column, None when it can."""
        raise NotImplementedError

    def chosen(self, facts: Facts) -> list[str]:
        """Return the columns the step works on, in the order of the frame."""
        if self.columns is None:
            return [name for name, fact in facts.items() if self.suits(fact)]
        return [name for name in facts if name in self.columns]

    def check(self, facts: Facts) -> list[Problem]:
        """Return what stands in the way, one problem a column; paths are relative to the step."""
        refusals = {name: self.refusal(name, facts) for name in self.chosen(facts)}
        return [
            Problem(f"columns[{self.columns.index(name)}]" if self.columns else "", f"column {name!r} {why}", got=name)
            for name, why in refusals.items()
            if why
        ]

    def plan(self, facts: Facts) -> Facts:
        """Return the facts of the frame behind the step."""
        raise NotImplementedError

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Return what the step learns from the training rows, as JSON values: under `columns`, something for each.

        It may go over the frames several times, and keeps none of them.

        Raises:
            service.errors.InvalidInput: A column has no values to learn from; the path is relative to the step.
        """
        raise NotImplementedError

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Return the frame with the step applied; `state` is what `fit` returned."""
        raise NotImplementedError

    def told_apart(self, state: dict[str, Any]) -> dict[str, list[str | float]]:
        """Return the single values that the step tells apart, by the column that they stand in."""
        return {}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        """Return what `apply` returns, by operations on tensors that other programs have, too.

        What `apply` refuses becomes NaN.

        Raises:
            service.errors.NotExportable: There are no such operations; the path is relative to the step.
        """
        raise NotImplementedError

    def in_batch(self, fitted: Any, rank: int, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Return what does to a batch of a tensor column on its device what `apply` does, to the bit.

        `fitted` is what `fit` returned for the column. Shape: any [rows, ...] of `rank` axes stays; float32 comes out.
        """
        raise NotImplementedError

    def in_block(
        self, names: Sequence[str], state: dict[str, Any]
    ) -> Callable[[NDArray[np.float64]], NDArray[np.float64]] | None:
        """Return what does to finite numbers, [rows, columns] with these names, what `apply` does, to the bit.

        None: there is nothing but `apply`.
        """
        return None


AnyPreprocessing = Annotated[Preprocessing, OneOf()]
