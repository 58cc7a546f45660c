"""What holds for weights by where they stand: when they learn, how fast, and behind which activation."""

from dataclasses import dataclass, replace

from service.blocks.activations import Activation
from service.blocks.layers import Layer, TrainableLayer
from service.blocks.pretrained import Pretrained


@dataclass(frozen=True)
class Learning:
    """The epoch, counted from 1, with which weights begin to learn (None: never), and what multiplies their rate."""

    since: int | None = 1
    factor: float = 1.0

    def within(self, layer: Layer) -> "Learning":
        """Return what holds for the weights of a layer that stands where this holds: the later epoch, both factors."""
        if not isinstance(layer, TrainableLayer):
            return self
        own = 1 if layer.trainable else layer.unfreeze_at_epoch
        since = None if own is None or self.since is None else max(own, self.since)
        return Learning(since, self.factor * layer.learning_rate_factor)

    def at(self, epoch: int) -> bool:
        """Tell whether the weights learn in an epoch."""
        return self.since is not None and epoch >= self.since


ALWAYS = Learning()
"""From the first epoch on, at the full rate."""


@dataclass(frozen=True)
class Surroundings:
    """What holds for layers by where they stand."""

    activation: Activation | None = None
    learning: Learning = ALWAYS
    first: bool = False

    def at(self, layer: Layer, in_front: bool) -> "Surroundings":
        """Return what holds for a layer here; `in_front`: no other stands before it."""
        return Surroundings(self.activation, self.learning.within(layer), self.first and in_front)

    def inside(self, layer: Layer) -> "Surroundings":
        """Return what holds inside of a layer; weights from elsewhere came without the network's activation."""
        return replace(self, activation=None) if isinstance(layer, Pretrained) else self
