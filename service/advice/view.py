"""What rules look at: the layers of a specification with everything that applies to them found out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.blocks.activations import Activation, Linear
from service.blocks.base import Shape
from service.blocks.initializers import Initializer
from service.blocks.layers import Layer, WeightedLayer
from service.blocks.reshaping import ActivationLayer
from service.network import Network
from service.network.resolution import felt_activation, kernel_initializer, last_weighted
from service.spec import JobSpec


@dataclass(frozen=True)
class Advice:
    """One rule that is broken: a stable code, where, why it matters, and what to do."""

    code: str
    path: str
    reason: str
    mend: str


@dataclass(frozen=True)
class Finding:
    """What a rule found; its code is the rule's name."""

    path: str
    reason: str
    mend: str


@dataclass(frozen=True)
class Site:
    """A layer in its place.

    `own` is the activation on the layer itself, given or by default; `felt` the one its outputs go through
    next, its own or one behind it; None where there is none. `initializer` is None for layers without weights.
    """

    path: str
    layer: Layer
    own: Activation | None
    felt: Activation | None
    own_path: str
    initializer: Initializer | None
    output_shape: Shape | None
    last: bool

    @property
    def weighted(self) -> bool:
        """True when the layer has a kernel."""
        return isinstance(self.layer, WeightedLayer)


@dataclass(frozen=True)
class View:
    """A specification and its layers."""

    spec: JobSpec
    sites: tuple[Site, ...]

    @property
    def hidden(self) -> list[Site]:
        """The layers with weights but the last."""
        return [site for site in self.sites if site.weighted and not site.last]

    @property
    def steps(self) -> set[str]:
        """The names of the preprocessing steps."""
        return {step.type for step in self.spec.data.preprocessing}

    def behind(self, site: Site) -> tuple[Site, ...]:
        """Return the layers behind `site`."""
        return self.sites[self.sites.index(site) + 1 :]


Rule = Callable[[View], Iterator[Finding]]


def view_of(spec: JobSpec, network: Network | None) -> View:
    """Return the view of a specification; shapes are known when its network is built."""
    layers = spec.network.layers
    last = last_weighted(layers)
    shapes = [record.output_shape for record in network.records] if network is not None else [None] * len(layers)
    return View(spec, tuple(_site(spec, index, shape, index == last) for index, shape in enumerate(shapes)))


def _site(spec: JobSpec, index: int, shape: Shape | None, last: bool) -> Site:
    layers, path = spec.network.layers, f"network.layers[{index}]"
    layer = layers[index]
    default = None if last or not isinstance(layer, WeightedLayer) else spec.network.activation
    own = layer.activation if isinstance(layer, WeightedLayer | ActivationLayer) else None
    felt = felt_activation(layers, index, default) if isinstance(layer, WeightedLayer) else own
    initializer = kernel_initializer(layer, felt, spec.network) if isinstance(layer, WeightedLayer) else None
    own_path = f"{path}.activation" if own is not None else "network.activation"
    return Site(path, layer, _real(own or default), _real(felt), own_path, initializer, shape, last)


def _real(activation: Activation | None) -> Activation | None:
    return None if isinstance(activation, Linear) else activation
