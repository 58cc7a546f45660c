"""Whitening: numbers turned so that none tells anything about another, each with variance 1."""

from dataclasses import dataclass, replace
from math import prod
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field

from service.blocks.base import Strict
from service.blocks.preprocessing import Preprocessing
from service.blocks.statistics import Floats, pieces_of
from service.data.frame import Column, Fact, Facts, Frame, Frames
from service.data.graph_frame import GraphFrame
from service.errors import InvalidInput, Problem

MOST_NUMBERS = 4_096
MOST_STATE = 1_000_000
"""Most numbers of the matrix, which is stored with the model."""
LOOP_WORK = 200_000_000
"""Multiply-adds up to which rows are turned one by one."""
NAME = "pca"


class Axes(Strict):
    """What whitening learns: the mean, and the axes with their scale."""

    columns: dict[str, None]
    mean: list[float]
    matrix: list[list[float]]


class PcaWhitening(Preprocessing):
    """(x - mean) along the principal axes of the training rows, each divided by its deviation.

    All number columns together, or the elements of one tensor, become one vector, the largest variance first; with
    `zca` they are turned back, so that they stay as near to what they were as whitened numbers can. Missing values
    must be imputed before.

    Reference: Kessy, Lewin and Strimmer 2018, "Optimal Whitening and Decorrelation", section 2.
    """

    type: Literal["pca_whitening"] = "pca_whitening"
    learned = Axes
    components: Annotated[int, Field(ge=1, le=MOST_NUMBERS)] | None = None
    """How many axes are kept; default: all."""
    zca: bool = False
    """Whether the numbers are turned back to the axes they came from; all of them are kept."""
    epsilon: Annotated[float, Field(ge=0, le=1)] = 1e-5
    """Added to the variances, as a share of the largest: what hardly varies would be blown up."""

    def suits(self, fact: Fact) -> bool:
        """Tell whether the column holds numbers that are not codes."""
        return fact.kind != "category" and not fact.indicator

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse what cannot be whitened together, and more numbers than are stored."""
        fact = facts[name]
        if fact.kind == "category":
            return "holds categories, which cannot be whitened"
        if fact.missing:
            return 'has missing values; put an "impute" step before this one'
        shapes = [facts[other].shape for other in self.chosen(facts)]
        if any(len(shape) > 1 for shape in shapes) and len(shapes) > 1:
            return "stands beside tensors of more than one axis; name the columns that are whitened together"
        width = sum(prod(shape) for shape in shapes)
        if width > MOST_NUMBERS or width * min(width, self.components or width) > MOST_STATE:
            return f"gives {width:,} numbers together, whose matrix is too large; keep fewer components or columns"
        if self.components is not None and (self.zca or self.components > width):
            return f"gives {width:,} numbers together: `components` is for fewer of them, and not for zca"
        return None

    def plan(self, facts: Facts) -> Facts:
        """One vector stands where the first of the columns stood; one tensor with `zca` keeps its shape."""
        chosen = self.chosen(facts)
        if not chosen:
            return facts
        if self.zca and len(chosen) == 1:
            return facts | {chosen[0]: Fact(facts[chosen[0]].kind, facts[chosen[0]].shape)}
        width = self.components or sum(prod(facts[name].shape) for name in chosen)
        planned: Facts = {}
        for name, fact in facts.items():
            if name == chosen[0]:
                planned[NAME] = Fact("tensor", (width,))
            elif name not in chosen:
                planned[name] = fact
        return planned

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn mean and axes; of each axis the largest number is positive."""
        chosen = self.chosen(facts)
        if not chosen:
            return {"columns": {}, "mean": [], "matrix": []}
        together = _Together.of(frames, chosen)
        variances, axes = np.linalg.eigh(together.products / max(together.rows, 1))
        variances, axes = variances[::-1].clip(0), axes[:, ::-1].T
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
        floor = self.epsilon * max(float(variances[0]), np.finfo(np.float64).tiny)
        matrix = axes / np.sqrt(variances + floor)[:, None]
        kept = axes.T @ matrix if self.zca else matrix[: self.components]
        return {"columns": dict.fromkeys(chosen), "mean": together.mean.tolist(), "matrix": kept.tolist()}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Whiten, to float32."""
        chosen = list(state["columns"])
        if not chosen:
            return frame
        x, matrix = _matrix(frame, chosen) - np.array(state["mean"]), np.array(state["matrix"])
        # A row of a request is to have the same answer whatever stands beside it, and a product of matrices adds up in
        # another order for another number of rows; for large data sets that would take too long.
        small = len(x) * matrix.size <= LOOP_WORK
        white = (np.einsum("rd,kd->rk", x, matrix) if small else x @ matrix.T).astype(np.float32)
        if self.zca and len(chosen) == 1:
            column = frame[chosen[0]]
            shape = column.values.shape
            values = white.reshape(shape) if column.kind == "tensor" else white[:, 0].astype(np.float64)
            return frame | {chosen[0]: Column(column.kind, values)}
        return {
            (NAME if name == chosen[0] else name): Column("tensor", white) if name == chosen[0] else column
            for name, column in frame.items()
            if name == chosen[0] or name not in chosen
        }

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        chosen = list(state["columns"])
        if not chosen:
            return frame
        mean, matrix = (torch.tensor(state[name], dtype=torch.float64) for name in ("mean", "matrix"))
        white = ((frame.matrix(chosen) - mean) @ matrix.T).float()
        if self.zca and len(chosen) == 1:
            if chosen[0] in frame.named:
                return frame.with_numbers(chosen, white.double())
            return frame.with_tensor(chosen[0], white.reshape(-1, *frame.tensors[chosen[0]].shape[1:]))
        order = tuple(NAME if n == chosen[0] else n for n in frame.order if n == chosen[0] or n not in chosen)
        return replace(frame.without(chosen).with_tensor(NAME, white), order=order)


@dataclass
class _Together:
    """What has been seen of numbers that stand side by side: their mean, [d], and the sums of their products, [d, d].

    The products are those of the distances from the mean (Chan, Golub and LeVeque 1979).
    """

    rows: int
    mean: Floats
    products: Floats

    @classmethod
    def of(cls, frames: Frames, names: list[str]) -> Self:
        """Take in all frames.

        Raises:
            InvalidInput: A value is missing or infinite.
        """
        found: Self | None = None
        for frame in frames:
            whole = _matrix(frame, names)
            found = found or cls(0, np.zeros(whole.shape[1]), np.zeros((whole.shape[1], whole.shape[1])))
            for piece in pieces_of(whole):
                found._add(whole[piece])
        if found is None or not np.isfinite(found.products).all():
            raise InvalidInput([Problem("", "a column to whiten holds missing or infinite values", got=names)])
        return found

    def _add(self, x: Floats) -> None:
        # Infinite and missing values are found by what comes of them.
        with np.errstate(invalid="ignore", over="ignore"):
            mean, total = x.mean(0), self.rows + len(x)
            step = mean - self.mean
            self.products += (x - mean).T @ (x - mean)
            self.products += np.outer(step, step) * (self.rows * len(x) / total)
            self.mean += step * (len(x) / total)
        self.rows = total


def _matrix(frame: Frame, names: list[str]) -> Floats:
    parts = [frame[name].values.reshape(len(frame[name].values), -1).astype(np.float64) for name in names]
    return np.concatenate(parts, axis=1)
