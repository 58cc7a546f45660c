"""A layer in its place, with everything that applies to it found out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from service.blocks.activations import Activation
from service.blocks.base import Shape
from service.blocks.initializers import Initializer
from service.blocks.layers import Layer, TableLayer, WeightedLayer
from service.blocks.scaled_initializers import fans
from service.network import LayerRecord


@dataclass(frozen=True, eq=False)
class Site:
    """A layer in its place.

    `own` is the activation on the layer itself, given or by default; `felt` the one its outputs go through
    next, its own or one behind it; None where there is none. `initializer` is None for layers without kernels.
    `record` is what came of it, None where the network is not built. `around` are the layers that hold it, outermost
    first; `inside` the rows of layers that it holds.
    """

    path: str
    layer: Layer
    own: Activation | None
    felt: Activation | None
    own_path: str
    initializer: Initializer | None
    record: LayerRecord | None
    around: tuple[Layer, ...]
    row: Sequence["Site"] = field(repr=False)
    place: int
    inside: tuple[Sequence["Site"], ...] = field(default=(), repr=False)

    @property
    def weighted(self) -> bool:
        """True when the layer has a kernel."""
        return isinstance(self.layer, WeightedLayer)

    @property
    def behind(self) -> Sequence["Site"]:
        """The layers behind this one, in the same row."""
        return self.row[self.place + 1 :]

    @property
    def next(self) -> "Site | None":
        """The layer behind this one, None for the last of a row."""
        return next(iter(self.behind), None)

    @property
    def before(self) -> Sequence["Site"]:
        """The layers before this one in the same row, the nearest first."""
        return [*reversed(self.row[: self.place])]

    @property
    def felt_path(self) -> str:
        """Where the activation that the outputs feel is said: at the layer, behind it or at the network."""
        carriers = () if self.own is not None else self.behind
        return next((other.own_path for other in carriers if other.own is not None), self.own_path)

    @property
    def input_shape(self) -> Shape:
        """Shape of a row that arrives, empty where it is not known."""
        return self.record.input_shape if self.record is not None else ()

    @property
    def output_shape(self) -> Shape:
        """Shape of a row that leaves, empty where it is not known."""
        return self.record.output_shape if self.record is not None else ()

    @property
    def length(self) -> int:
        """Places of the sequence that arrives, 0 where it is not known."""
        return self.input_shape[0] if self.input_shape else 0

    @property
    def values(self) -> int | None:
        """How many values of a row leave, None where it is not known."""
        return prod(self.record.output_shape) if self.record is not None else None

    @property
    def fan_in(self) -> int | None:
        """How many inputs a weight of the kernel is one of, None where it is not known."""
        if self.record is None or not isinstance(self.layer, WeightedLayer) or self.layer.transposed:
            return None
        return next((fans(weight)[0] for weight in self.record.module.parameters() if weight.ndim > 1), None)

    def said(self, name: str) -> str:
        """Return where the field `name` of the kernel is said: at the layer, else at the network."""
        own = isinstance(self.layer, WeightedLayer | TableLayer) and getattr(self.layer, name, None) is not None
        return f"{self.path}.{name}" if own else f"network.{name}"
