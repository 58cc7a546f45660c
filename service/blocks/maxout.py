"""Maxout: the largest of several affine pieces, as a layer and as an activation."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from service.blocks.activations import Activation
from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, WeightedLayer
from service.blocks.values import Units

Pieces = Annotated[int, Field(ge=2, le=10_000)]


class LargestPiece(nn.Module):
    """The largest of each `pieces` neighbours along an axis, which gets that many times shorter."""

    def __init__(self, pieces: int, axis: int) -> None:
        super().__init__()
        self.pieces, self.axis = pieces, axis

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima; [batch, pieces * n, ...] to [batch, n, ...] along axis 1."""
        axis = self.axis % x.ndim
        if x.shape[axis] % self.pieces:
            raise ValueError(f"a number of channels that {self.pieces} pieces divide, not {x.shape[axis]}")
        shape = (*x.shape[:axis], -1, self.pieces, *x.shape[axis + 1 :])
        return x.reshape(shape).amax(dim=axis + 1)


class Maxout(WeightedLayer):
    """The largest of `pieces` affine functions of the last axis: y_i = max_j (W_ij x + b_ij).

    A unit can learn any convex function of its inputs; it needs no activation.

    Shape: [..., features] to [..., units].

    Reference: Goodfellow et al. 2013, "Maxout Networks", section 3.
    """

    type: Literal["maxout"] = "maxout"
    nonlinear: ClassVar[bool] = True
    units: Units
    """Outputs; "auto" on the last layer: as many as the loss and the data call for."""
    pieces: Pieces = 2
    """Affine functions of each unit."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if not shape:
            raise ShapeError("at least one axis of features")
        if self.activation is not None and self.activation.type != "linear":
            raise ShapeError("no activation of its own: the largest piece is one")
        rows = self.units_of(self.units, context) * self.pieces
        context.afford(rows, shape[-1])
        return MaxoutModule(nn.Linear(shape[-1], rows, bias=self.use_bias), self.pieces)


class MaxoutModule(nn.Module):
    """All pieces in one matrix, and the largest of each unit's."""

    def __init__(self, kernel: nn.Linear, pieces: int) -> None:
        super().__init__()
        self.kernel, self.largest = kernel, LargestPiece(pieces, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, ..., units]."""
        out: Tensor = self.largest(self.kernel(x))
        return out


class MaxoutActivation(Activation):
    """The largest of each `pieces` neighbouring channels (the first axis after the batch), which get fewer.

    Reference: Goodfellow et al. 2013, "Maxout Networks", section 3.
    """

    type: Literal["maxout"] = "maxout"
    initializer = "he_normal"
    narrows = True
    pieces: Pieces = 2
    """Neighbours of which the largest stays; it divides the number of channels."""

    def build(self) -> nn.Module:
        return LargestPiece(self.pieces, 1)
