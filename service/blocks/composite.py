"""Layers that hold layers, so that a list of layers describes a graph."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from service.blocks.activations import AnyActivation
from service.blocks.base import Shape
from service.blocks.layers import AnyLayer, BuildContext, ShapeError, TrainableLayer

Layers = Annotated[list[AnyLayer], Field(min_length=1, max_length=500)]
META = torch.device("meta")


class Residual(TrainableLayer):
    """Add the input to what the layers make of it: y = activation(x + layers(x)).

    Where the shapes differ, `shortcut` brings the input to the shape of the sum.

    Shape: [...] to what the layers give.

    Reference: He et al. 2016, "Deep Residual Learning for Image Recognition", eq. 1 and 2.
    """

    type: Literal["residual"] = "residual"
    layers: Layers
    """What is learned besides the identity."""
    shortcut: Annotated[list[AnyLayer], Field(max_length=50)] = []
    """Layers on the way past, e.g. a 1 x 1 convolution; none: the input as it is."""
    activation: AnyActivation | None = None
    """Activation of the sum."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        inner = context.stack(self.layers, shape, "layers")
        past = context.stack(self.shortcut, shape, "shortcut") if self.shortcut else nn.Identity()
        given, carried = _shape(inner, shape), _shape(past, shape)
        if given != carried:
            raise ShapeError(
                f"a shortcut that gives {list(given)} as its layers do, not {list(carried)}"
                if self.shortcut
                else f"layers that give back {list(shape)}, not {list(given)}, or a shortcut"
            )
        return Sum(inner, past, self.activation.build() if self.activation else nn.Identity())


class Sum(nn.Module):
    """Two ways from the input, added up."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.layers, self.shortcut, self.activation = layers, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum."""
        out: Tensor = self.activation(self.shortcut(x) + self.layers(x))
        return out


class Branch(TrainableLayer):
    """One way of a `parallel` layer: layers, one after the other.

    Shape: [...] to what the layers give.
    """

    type: Literal["sequential"] = "sequential"
    layers: Layers
    """The layers, first to last."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return Kept(context.stack(self.layers, shape, "layers"))


class Kept(nn.Module):
    """A stack under the name `layers`."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layers give."""
        out: Tensor = self.layers(x)
        return out


class Parallel(TrainableLayer):
    """Several layers on the same input, their outputs side by side along the first axis or added up.

    Shape: [...] to [sum of the branches' first axes, ...], or to the shape of each branch.

    Reference: Szegedy et al. 2015, "Going Deeper with Convolutions", figure 2.
    """

    type: Literal["parallel"] = "parallel"
    branches: Annotated[list[AnyLayer], Field(min_length=1, max_length=50)]
    """The layers; one of type "sequential" holds several."""
    merge: Literal["concat", "add"] = "concat"
    """What becomes of their outputs."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        # Built as a stack of one each, so that every branch sees the input and has its own place in the JSON.
        branches = context.branches(self.branches, shape, "branches")
        shapes = [_shape(branch, shape) for branch in branches.values()]
        alike = [s if self.merge == "add" else s[1:] for s in shapes]
        if any(s != alike[0] for s in alike):
            raise ShapeError(f"branches whose outputs can be put together, not {[list(s) for s in shapes]}")
        return Together(branches, self.merge)


class Together(nn.Module):
    """Branches and how their outputs are merged."""

    def __init__(self, branches: nn.ModuleDict, merge: str) -> None:
        super().__init__()
        self.branches, self.merge = branches, merge

    def forward(self, x: Tensor) -> Tensor:
        """Return the merged outputs."""
        outputs: Sequence[Tensor] = [branch(x) for branch in self.branches.values()]
        return torch.cat(list(outputs), dim=1) if self.merge == "concat" else torch.stack(list(outputs)).sum(dim=0)


def _shape(module: nn.Module, shape: Shape) -> Shape:
    with torch.no_grad():
        return tuple(module.eval()(torch.empty(2, *shape, device=META)).shape[1:])
