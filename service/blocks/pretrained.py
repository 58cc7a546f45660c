"""Layers that begin with weights which another training left."""

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from service.blocks.base import Shape
from service.blocks.composite import Kept, Layers
from service.blocks.layers import BuildContext, ShapeError, TrainableLayer
from service.blocks.values import Says

Name = Annotated[str, Field(min_length=1, max_length=512)]


class Pretrained(TrainableLayer):
    """Layers with the weights of a stored model (`mdl_...`), or with imported ones (`wts_...`).

    Of a model they are those behind `after`, up to and with `until`, as its specification has them; they learn as
    this block says, whatever they did there. Imported weights are tensors alone: `layers` says what they belong to.
    A tensor `conv1.weight` is found by the layer `conv1`, or by the one that `rename` gives it to. The network's own
    `activation` does not reach in here: every layer says its own.
    Stands in `network.layers`, not inside of another layer. Shape: [...] to what the layers give.

    Reference: Yosinski et al. 2014, "How Transferable Are Features in Deep Neural Networks?".
    """

    type: Literal["pretrained"] = "pretrained"
    source: Annotated[
        str,
        Field(pattern=r"^(mdl|wts)_[0-9a-z]{26}$", examples=["wts_" + "0" * 26]),
        Says('an id of a model or of imported weights: "mdl_" or "wts_" and 26 characters'),
    ]
    """Id of the model, or of the imported weights. The specification's hash has their own hash in its place."""
    after: Name | None = None
    """Name of the model's last layer to leave out at its start; default: none is."""
    until: Name | None = None
    """Name of the model's last layer to take; default: all to its end, the outputs included."""
    rename: Annotated[dict[Name, Name], Field(max_length=10_000)] = {}
    """Of imported weights: what the names of tensors begin with, and the layer here that these belong to."""
    layers: Layers | None = None
    """The layers; required for imported weights, filled in for a model."""
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Hash of the weights; filled in. Where it is given, the source must have no other."""

    @property
    def from_model(self) -> bool:
        """True when the source is a model, which knows its layers."""
        return self.source.startswith("mdl_")

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        if self.layers is None:
            raise ShapeError("layers, which nobody has looked up yet")
        return Kept(context.stack(self.layers, shape, "layers"))
