"""What every layer is, and the context it is built in."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Protocol, Self, cast

from pydantic import Field, model_validator
from torch import Tensor, nn

from service.blocks.activations import Activation, AnyActivation
from service.blocks.base import Block, OneOf, Shape
from service.blocks.initializers import AnyInitializer, Initializer
from service.blocks.regularizers import Constraint, Regularizer


class ShapeError(ValueError):
    """A layer cannot take the shape that arrived; `needed` says in words which it can."""

    def __init__(self, needed: str) -> None:
        self.needed = needed
        super().__init__(f"needs {needed}")


class BuildContext(Protocol):
    """What a layer may ask of the network that it is built into."""

    @property
    def outputs(self) -> int | None:
        """The value of `"units": "auto"`: what the loss and the data call for; None but on the last layer."""

    @property
    def vocabulary(self) -> int | None:
        """How many token ids the data have; None where they do not say, or hold other things than tokens."""

    @property
    def first(self) -> bool:
        """True where the data arrive: no layer stands before."""

    @property
    def activation(self) -> Activation | None:
        """The network's default activation; None on the last layer, whose outputs the loss reads."""

    def afford(self, *sizes: int) -> None:
        """Announce a weight of these sizes before it is made, so that one too large is refused, not allocated."""

    def stack(self, layers: Sequence["AnyLayer"], shape: Shape, field: str) -> nn.Module:
        """Build the layers of a composite block, one after the other.

        `field` is where they stand in the JSON, and the attribute under which the block's module keeps the result.
        """

    def branches(self, layers: Sequence["AnyLayer"], shape: Shape, field: str) -> nn.ModuleDict:
        """Build layers side by side, each on the same `shape`; by name, in their order."""


class Layer(Block):
    """A part of a network: takes a batch of one shape and gives a batch of another."""

    family = "layer"
    stochastic: ClassVar[bool] = False
    """True when the layer draws random numbers in training and in Monte-Carlo prediction."""
    normalizes: ClassVar[bool] = False
    """True when the layer brings values to mean 0 and variance 1."""
    transparent: ClassVar[bool] = False
    """True when an activation behind the layer is as good as one before it, to the weights before both."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")] | None = None
    """Name of the layer in summaries and weights; default: its type and its position."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        """Return the module for inputs of `shape` (no batch dimension, channels first).

        Called on torch's meta device; weights get their values later, from the initializer.

        Raises:
            ShapeError: The layer cannot take this shape.
        """
        raise NotImplementedError


class TrainableLayer(Layer):
    """A layer with something to learn, by itself or in the layers that it holds.

    What a layer says holds for those inside of it, too: all of them wait for the later epoch, and factors multiply.
    """

    trainable: bool = True
    """Whether it learns; false: its weights, and the moving statistics of batch normalisations, stay bit for bit."""
    unfreeze_at_epoch: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    """Epoch, counted from 1, with which a layer that is not trainable begins to learn; default: none."""
    learning_rate_factor: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Factor on the learning rate of its weights."""

    @model_validator(mode="after")
    def _what_learns_is_not_frozen(self) -> Self:
        if self.trainable and self.unfreeze_at_epoch is not None:
            raise ValueError("unfreeze_at_epoch is for a layer that is frozen at first: trainable must be false")
        return self


Starts = tuple[Initializer | None, ...]
"""How the parts of a weight along its units start: an initializer that a layer insists on, or None for what applies."""


class WeightedLayer(TrainableLayer):
    """A layer with a kernel, a bias and an activation behind them."""

    nonlinear: ClassVar[bool] = False
    """True when the layer bends what it gives by itself, without an activation."""
    transposed: ClassVar[bool] = False
    """True when the kernel has its inputs first, as torch keeps those of transposed convolutions."""

    activation: AnyActivation | None = None
    """Activation behind the layer; default: the network's (`network.activation`), none on the last layer."""
    use_bias: bool = True
    """Whether a bias is added."""
    initializer: AnyInitializer | None = None
    """How the kernel starts; default: the network's, else the one that suits the activation."""
    bias_initializer: AnyInitializer | None = None
    """How the bias starts; default: the network's, else zeros."""
    regularizer: Regularizer | None = None
    """Penalty on the kernel; default: the network's (`network.regularizer`)."""
    constraint: Constraint | None = None
    """Constraint on the kernel after every step; default: the network's."""

    def starts(self, name: str, owner: nn.Module) -> Starts:
        """Return how the parts of the weight `name` start that stand one below the other; `owner` holds the weight.

        Groups of channels see nothing of each other: each starts by itself, from its own fans.
        """
        return (None,) * cast(int, getattr(owner, "groups", 1)) if name == "weight" else (None,)

    def activated(self, kernel: nn.Module, context: BuildContext) -> nn.Module:
        """Return `kernel` with the activation that applies here behind it."""
        return Activated(kernel, self.activation or context.activation)

    def units_of(self, units: int | str, context: BuildContext) -> int:
        """Return the number behind a `units` field.

        Raises:
            ShapeError: "auto" stands elsewhere than on the last layer.
        """
        if isinstance(units, int):
            return units
        if context.outputs is None:
            raise ShapeError('a number of units: "auto" stands for the outputs and belongs on the last layer only')
        return context.outputs


class TableLayer(TrainableLayer):
    """A layer with a table of vectors, which no rule of the network's kernels speaks of."""

    initializer: AnyInitializer | None = None
    """How the vectors start; default: uniform in [-0.05, 0.05]."""
    regularizer: Regularizer | None = None
    """Penalty on the vectors; default: none."""
    constraint: Constraint | None = None
    """Constraint on each vector; default: none."""


class Activated(nn.Module):
    """A module with a kernel and the activation behind it."""

    def __init__(self, kernel: nn.Module, activation: Activation | None) -> None:
        super().__init__()
        self.kernel = kernel
        self.activation = activation.build() if activation is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated output of the kernel."""
        activated: Tensor = self.activation(self.kernel(x))
        return activated


def inside(layer: Layer) -> Iterator[tuple[str, Sequence[Layer]]]:
    """Yield the lists of layers that a layer holds, by the names of the fields."""
    for name, value in layer:
        if isinstance(value, list) and value and all(isinstance(each, Layer) for each in value):
            yield name, value


def everywhere(layers: Sequence[Layer], path: str) -> Iterator[tuple[str, Layer]]:
    """Yield layers and those inside of them, at any depth, by their places in the JSON."""
    for index, layer in enumerate(layers):
        place = f"{path}[{index}]"
        yield place, layer
        for name, held in inside(layer):
            yield from everywhere(held, f"{place}.{name}")


def need_rank(shape: Shape, rank: int, needed: str) -> None:
    """Raise ShapeError unless `shape` has `rank` axes."""
    if len(shape) != rank:
        raise ShapeError(needed)


AnyLayer = Annotated[Layer, OneOf()]
