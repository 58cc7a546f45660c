"""Advice on activations, and on how weights start."""

from collections.abc import Iterator, Sequence

from service.advice.view import Finding, Rule, Site, View
from service.blocks.pooling import GlobalPooling, Pooling
from service.blocks.rectifiers import LeakyRelu, Selu

DEEP = 3
"""Layers with a saturating activation from which gradients fade noticeably."""


def selu_initializer(view: View) -> Iterator[Finding]:
    """SELU keeps mean 0 and variance 1 only from LeCun's variance (Klambauer et al. 2017)."""
    for site in _with_kernel(view):
        if isinstance(site.felt, Selu) and not _starts(site, "lecun"):
            reason = f"SELU normalises itself only with weights of variance 1 / fan_in; {_name(site)} has another."
            yield Finding(f"{site.path}.initializer", reason, 'Use "lecun_normal", or leave the initializer out.')


def selu_input(view: View) -> Iterator[Finding]:
    """SELU keeps mean 0 and variance 1 only of inputs that have them (Klambauer et al. 2017)."""
    if any(isinstance(site.felt, Selu) for site in view.sites) and "standardize" not in view.steps:
        reason = "SELU normalises itself only when the input has mean 0 and variance 1."
        yield Finding("data.preprocessing", reason, 'Add "standardize".')


def rectifier_initializer(view: View) -> Iterator[Finding]:
    """Half of a rectifier's inputs are cut, so that Glorot's variance halves at every layer (He et al. 2015)."""
    for site in _with_kernel(view):
        if site.felt is not None and site.felt.initializer == "he_normal" and _starts(site, "glorot"):
            reason = (
                f"{site.felt.type} loses half of the variance at every layer; {_name(site)} does not make up for it."
            )
            yield Finding(f"{site.path}.initializer", reason, 'Use "he_normal", or leave the initializer out.')


def symmetric_initializer(view: View) -> Iterator[Finding]:
    """Units that start equal get equal gradients, and stay equal for ever."""
    for site in _with_kernel(view):
        if site.initializer is not None and site.initializer.symmetric:
            reason = (
                f"With {_name(site)} all units of the layer start the same, get the same gradient and stay the same."
            )
            yield Finding(f"{site.path}.initializer", reason, "Use a random one, or leave the initializer out.")


def saturating_depth(view: View) -> Iterator[Finding]:
    """The gradient of sigmoid and tanh is near zero for large inputs, and products of such fade."""
    sites = [site for site in view.sites if site.weighted and site.felt is not None and site.felt.saturates]
    if len(sites) >= DEEP and sites[0].felt is not None:
        reason = f"{len(sites)} layers with a saturating activation: gradients fade on the way to the first ones."
        yield Finding(sites[0].own_path, reason, 'Use "relu", "gelu" or "selu" in the hidden layers.')


def leaky_slope(view: View) -> Iterator[Finding]:
    """A slope of 1 makes the unit linear; a larger one makes signals grow without bound."""
    seen: set[str] = set()
    for site in view.sites:
        if isinstance(site.own, LeakyRelu) and site.own.slope >= 1 and site.own_path not in seen:
            seen.add(site.own_path)
            reason = f"With a slope of {site.own.slope:g} for negative inputs, stacked layers are linear or explode."
            yield Finding(f"{site.own_path}.slope", reason, "Use a slope between 0.01 and 0.3.")


def linear_stack(view: View) -> Iterator[Finding]:
    """Two linear layers in a row can do no more than one."""
    for site in view.hidden:
        pooled = any(isinstance(other.layer, Pooling | GlobalPooling) for other in _until_weights(view, site))
        if site.felt is None and not pooled:
            reason = "Without an activation, this layer and the next with weights can do no more than one alone."
            mend = 'Give it an activation, e.g. "relu", or set network.activation for all hidden layers.'
            yield Finding(f"{site.path}.activation", reason, mend)


def output_activation(view: View) -> Iterator[Finding]:
    """The loss reads plain outputs; an activation on them takes away values that it may need."""
    for site in view.sites:
        if site.last and site.felt is not None:
            reason = f"The loss reads the last layer's outputs, and {site.felt.type} keeps some values from it."
            mend = "Leave it out, unless the targets are known to lie in its range."
            yield Finding(_felt_path(view, site), reason, mend)


def _felt_path(view: View, site: Site) -> str:
    carriers = (site, *view.behind(site))
    return next(f"{other.path}.activation" for other in carriers if other.own is not None)


def _until_weights(view: View, site: Site) -> Iterator[Site]:
    for other in view.behind(site):
        if other.weighted:
            return
        yield other


def _with_kernel(view: View) -> list[Site]:
    return [site for site in view.sites if site.initializer is not None]


def _starts(site: Site, prefix: str) -> bool:
    return site.initializer is not None and site.initializer.type.startswith(prefix)


def _name(site: Site) -> str:
    return site.initializer.type if site.initializer is not None else "none"


RULES: Sequence[Rule] = (
    selu_initializer,
    selu_input,
    rectifier_initializer,
    symmetric_initializer,
    saturating_depth,
    leaky_slope,
    linear_stack,
    output_activation,
)
