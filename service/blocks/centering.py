"""Centring: what is left when a mean is taken away, that of every place or that of the row itself."""

from collections.abc import Callable
from dataclasses import replace
from math import prod, sqrt
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from service.blocks.base import Strict
from service.blocks.preprocessing import Names, Preprocessing
from service.blocks.statistics import by_element, pieces_of, statistics_of
from service.data.frame import Column, Fact, Facts, Frame, Frames
from service.data.graph_frame import GraphFrame

MOST_PLACES = 200_000
"""Most elements of a tensor whose means are stored with the model."""


class Means(Strict):
    """What centring learns: the mean of a number column, or of every element of a tensor."""

    columns: dict[str, Annotated[list[float], Field(min_length=1)]]


class ZeroCenter(Preprocessing):
    """x - mean over the training rows: of a number column, and of every element of a tensor (the mean image).

    Reference: Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep CNNs", section 2.
    """

    type: Literal["zero_center"] = "zero_center"
    learned = Means
    waits = True

    def suits(self, fact: Fact) -> bool:
        """Tell whether the column holds numbers that are not codes."""
        return fact.kind != "category" and not fact.indicator

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse categories, and tensors with more elements than are stored."""
        if facts[name].kind == "category":
            return "holds categories, which have no mean"
        if prod(facts[name].shape) > MOST_PLACES:
            return f"has more than {MOST_PLACES:,} elements, each with a mean of its own; use channel_mean"
        return None

    def plan(self, facts: Facts) -> Facts:
        """Shapes stay; the values of the data set are no longer there."""
        return facts | {name: replace(facts[name], counts=None, vocabulary=None) for name in self.chosen(facts)}

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn the means."""
        found = statistics_of(frames, self.chosen(facts), by_element)
        return {"columns": {name: known.center.tolist() for name, known in found.items()}}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Take the means away: number columns in float64, tensors to float32."""
        return frame | {name: self._centred(frame[name], means) for name, means in state["columns"].items()}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        def mean(name: str, means: list[float]) -> Tensor:
            shape = frame.tensors[name].shape[1:] if name in frame.tensors else ()
            return torch.tensor(means, dtype=torch.float64).reshape(shape)

        one = torch.ones((), dtype=torch.float64)
        return frame.scaled({name: (mean(name, means), one) for name, means in state["columns"].items()})

    def in_batch(self, fitted: Any, rank: int, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Take the means away on the device."""
        mean = torch.tensor(fitted, dtype=torch.float64, device=device)
        return lambda x: x.double().sub_(mean.view(x.shape[1:])).float()

    @staticmethod
    def _centred(column: Column, means: list[float]) -> Column:
        values = column.values
        if column.kind == "number":
            return Column("number", values - means[0], column.indicator)
        mean = np.array(means).reshape(values.shape[1:])
        centred = np.empty(values.shape, np.float32)
        for piece in pieces_of(values):
            centred[piece] = values[piece] - mean
        return Column("tensor", centred, column.indicator)


class ImageMean(Preprocessing):
    """Take from every image or sequence its own mean, and divide by its own deviation if asked to.

    Nothing is learned from other rows, so that it is the same in training and prediction. The deviation of a flat
    image counts as 1 / sqrt(elements), so that it stays near 0.
    """

    type: Literal["image_mean"] = "image_mean"
    learned = Names
    divide: bool = False
    """Whether the row's own deviation becomes 1."""

    def suits(self, fact: Fact) -> bool:
        """Tell whether the column holds tensors of more than one axis."""
        return fact.kind == "tensor" and len(fact.shape) > 1

    def refusal(self, name: str, facts: Facts) -> str | None:
        """Refuse all but images and sequences."""
        return None if self.suits(facts[name]) else "holds no images or sequences, which have a mean of their own"

    def plan(self, facts: Facts) -> Facts:
        """Shapes stay."""
        return facts | {name: replace(facts[name], vocabulary=None) for name in self.chosen(facts)}

    def fit(self, frames: Frames, facts: Facts) -> dict[str, Any]:
        """Learn nothing."""
        return {"columns": dict.fromkeys(self.chosen(facts))}

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Take every row's own mean away, to float32."""
        return frame | {name: self._centred(frame[name]) for name in state["columns"]}

    def in_graph(self, frame: GraphFrame, state: dict[str, Any]) -> GraphFrame:
        return frame.mapped(list(state["columns"]), self._of)

    def _of(self, images: Tensor) -> Tensor:
        axes = tuple(range(1, images.ndim))
        centred = images - images.mean(axes, keepdim=True)
        if not self.divide:
            return centred
        deviation = centred.square().mean(axes, keepdim=True).sqrt()
        return centred / deviation.clamp_min(1.0 / sqrt(prod(images.shape[1:])))

    def _centred(self, column: Column) -> Column:
        values = column.values
        axes = tuple(range(1, values.ndim))
        centred = np.empty(values.shape, np.float32)
        for piece in pieces_of(values):
            part = values[piece].astype(np.float64)
            part -= part.mean(axes, keepdims=True)
            if self.divide:
                part /= np.maximum(part.std(axes, keepdims=True), 1.0 / np.sqrt(prod(values.shape[1:])))
            centred[piece] = part
        return Column("tensor", centred, column.indicator)
