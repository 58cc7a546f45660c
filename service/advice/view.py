"""What rules look at: the layers of a specification, however deep, with everything that applies to them found out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from service.advice.known import Known
from service.advice.site import Site
from service.blocks.activations import Activation, Linear
from service.blocks.base import Shape
from service.blocks.layers import Layer, WeightedLayer
from service.data.profile import Profile
from service.network import Network
from service.network.resolution import felt_activation, kernel_initializer, last_weighted
from service.spec import JobSpec

L = TypeVar("L", bound=Layer)
ABREAST = "branches"
"""Field of layers that stand side by side; those of other fields stand one behind the other."""


@dataclass(frozen=True)
class View:
    """A specification, its layers, and what is known of its data; `sites` are in the order of the JSON."""

    spec: JobSpec
    network: Network | None
    known: Known
    top: Sequence[Site]

    @cached_property
    def sites(self) -> list[Site]:
        """Every layer, those inside of others too."""
        return [*_all(self.top)]

    @cached_property
    def ends(self) -> Sequence[Site]:
        """The layers with weights that nothing with weights follows: those that give the outputs."""
        return _ends(self.top)

    @property
    def weighted(self) -> list[Site]:
        """The layers with kernels."""
        return [site for site in self.sites if site.weighted]

    @property
    def hidden(self) -> list[Site]:
        """The layers with kernels but those that give the outputs."""
        return [site for site in self.weighted if site not in self.ends]

    @property
    def normalized(self) -> bool:
        """True when a layer brings values to mean 0 and variance 1."""
        return any(site.layer.normalizes for site in self.sites)

    @property
    def steps(self) -> set[str]:
        """The names of the preprocessing steps."""
        return {step.type for step in self.spec.data.preprocessing}

    @property
    def pairs(self) -> Iterator[tuple[Site, Site]]:
        """Every layer with the one behind it."""
        return ((site, site.next) for site in self.sites if site.next is not None)

    @property
    def input_shape(self) -> Shape:
        """Shape of a row as it reaches the network, empty where it is not known."""
        return self.top[0].input_shape

    @property
    def parameters(self) -> int:
        """How many numbers training changes, 0 where it is not known."""
        return sum(p.numel() for p in self.network.parameters()) if self.network is not None else 0

    def of(self, *kinds: type[L]) -> list[tuple[Site, L]]:
        """Return the layers of these kinds with their places."""
        return [(site, site.layer) for site in self.sites if isinstance(site.layer, kinds)]

    def has(self, *kinds: type[Layer]) -> bool:
        """Tell whether there is a layer of one of these kinds."""
        return any(isinstance(site.layer, kinds) for site in self.sites)


def view_of(spec: JobSpec, network: Network | None = None, profile: Profile | None = None) -> View:
    """Return the view of a specification; shapes are known when its network is built, columns with a profile."""
    layers = spec.network.layers
    top = _Survey(spec, network).row(layers, [f"network.layers[{index}]" for index in range(len(layers))])
    return View(spec, network, Known(spec, profile), top)


@dataclass(frozen=True)
class _Survey:
    """Looks at rows of layers as the builder of the network does."""

    spec: JobSpec
    network: Network | None

    def row(self, layers: Sequence[Layer], paths: Sequence[str], around: tuple[Layer, ...] = ()) -> list[Site]:
        """Return the places of layers that stand one behind the other."""
        row: list[Site] = []
        last = -1 if around else last_weighted(layers)
        for index, (layer, path) in enumerate(zip(layers, paths, strict=True)):
            default = self.spec.network.activation if index != last else None
            own, felt = _activations(layers, index, default)
            said = getattr(layer, "activation", None) is not None
            kernel = kernel_initializer(layer, felt, self.spec.network) if isinstance(layer, WeightedLayer) else None
            site = Site(
                path,
                layer,
                own=_real(own),
                felt=_real(felt),
                own_path=f"{path}.activation" if said else "network.activation",
                initializer=kernel,
                record=self.network.places.get(path) if self.network is not None else None,
                around=around,
                row=row,
                place=index,
                inside=tuple(self._inside(layer, path, (*around, layer))),
            )
            row.append(site)
        return row

    def _inside(self, layer: Layer, path: str, around: tuple[Layer, ...]) -> Iterator[Sequence[Site]]:
        for name in type(layer).model_fields:
            layers = getattr(layer, name)
            if not isinstance(layers, list) or not all(isinstance(inner, Layer) for inner in layers):
                continue
            paths = [f"{path}.{name}[{index}]" for index in range(len(layers))]
            if name == ABREAST:
                yield from (self.row([one], [at], around) for one, at in zip(layers, paths, strict=True))
            elif layers:
                yield self.row(layers, paths, around)


def _activations(
    layers: Sequence[Layer], index: int, default: Activation | None
) -> tuple[Activation | None, Activation | None]:
    """Return the activation on a layer and the one that its outputs feel."""
    layer = layers[index]
    own: Activation | None = getattr(layer, "activation", None)
    if not isinstance(layer, WeightedLayer):
        return own, own
    return (None if layer.nonlinear else own or default), felt_activation(layers, index, default)


def _all(row: Sequence[Site]) -> Iterator[Site]:
    for site in row:
        yield site
        for inner in site.inside:
            yield from _all(inner)


def _ends(row: Sequence[Site]) -> list[Site]:
    for site in reversed(row):
        if site.weighted:
            return [site]
        if found := [end for inner in site.inside for end in _ends(inner)]:
            return found
    return []


def _real(activation: Activation | None) -> Activation | None:
    return None if isinstance(activation, Linear) else activation
