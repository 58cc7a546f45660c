"""How weights and biases start."""

from math import log10

from service.advice.rules import Finding, Findings, rule
from service.advice.site import Site
from service.advice.sources import GLOROT, GOODFELLOW, HE_RECTIFIERS, KLAMBAUER
from service.advice.view import View
from service.blocks.initializers import (
    Constant,
    Identity,
    Initializer,
    Normal,
    Ones,
    Orthogonal,
    TruncatedNormal,
    Uniform,
)
from service.blocks.layers import WeightedLayer
from service.blocks.rectifiers import Relu, Relu6, Selu
from service.blocks.recurrent import Recurrent
from service.blocks.scaled_initializers import VarianceScaling
from service.network.resolution import bias_initializer

LOUD = 20.0
"""Gain, fan_in times the mean square of a weight, that is ten times He's: signals triple at every layer."""
FAINT = 0.1
"""Gain with which signals fall to a third at every layer."""
FAINT_LAYERS = 3
LARGE_BIAS = 1.0


@rule(f'{KLAMBAUER}, section 2, "Initialization"')
def selu_initializer(view: View) -> Findings:
    """SELU keeps mean 0 and variance 1 only from LeCun's variance, 1 / fan_in."""
    for site in _with_kernel(view):
        if isinstance(site.felt, Selu) and not _starts(site, "lecun") and _gain(site) != 1.0:
            reason = f"SELU normalises itself only with weights of variance 1 / fan_in; {_name(site)} has another."
            yield Finding(site.said("initializer"), reason, 'Use "lecun_normal", or leave the initializer out.')


@rule(f"{HE_RECTIFIERS}, section 2.2")
def rectifier_initializer(view: View) -> Findings:
    """Half of a rectifier's inputs are cut, so that Glorot's and LeCun's variance halves at every layer."""
    for site in _with_kernel(view):
        suits_he = site.felt is not None and site.felt.initializer == "he_normal"
        if suits_he and site.felt is not None and _starts(site, "glorot", "lecun"):
            reason = (
                f"{site.felt.type} loses half of the variance at every layer; {_name(site)} does not make up for it."
            )
            yield Finding(site.said("initializer"), reason, 'Use "he_normal", or leave the initializer out.')


@rule(f"{GLOROT}, section 4.2.1")
def saturating_initializer(view: View) -> Findings:
    """He's variance makes up for what rectifiers cut off; sigmoid and tanh cut nothing off and saturate sooner."""
    for site in _with_kernel(view):
        if site.felt is not None and site.felt.saturates and _starts(site, "he_"):
            reason = f"{_name(site)} starts with weights too large for {site.felt.type}, which cuts nothing off."
            yield Finding(site.said("initializer"), reason, 'Use "glorot_uniform", or leave the initializer out.')


@rule(f"{GOODFELLOW}, section 8.4")
def symmetric_initializer(view: View) -> Findings:
    """Units that start equal get equal gradients, and stay equal for ever."""
    for site in _with_kernel(view):
        start = site.initializer
        if start is not None and start.symmetric and not isinstance(start, Identity):
            reason = (
                f"With {_name(site)} all units of the layer start the same, get the same gradient and stay the same."
            )
            yield Finding(site.said("initializer"), reason, "Use a random one, or leave the initializer out.")


@rule(f"{GOODFELLOW}, section 8.4")
def large_initial_weights(view: View) -> Findings:
    """Weights that start too large let signals explode, or saturate units before anything is learned."""
    for site in _with_kernel(view):
        gain = _gain(site)
        if gain is not None and gain > LOUD:
            reason = f"Signals become about {gain**0.5:.2g} times as large at this layer, and gradients with them."
            yield Finding(site.said("initializer"), reason, "Leave the initializer out, or make it smaller.")


@rule(f"{HE_RECTIFIERS}, section 2.2")
def small_initial_weights(view: View) -> Findings:
    """In a deep network weights of one small deviation for all layers let signals and gradients die away."""
    faint = [(site, gain) for site in view.hidden if (gain := _gain(site)) is not None and gain < FAINT]
    if len(faint) >= FAINT_LAYERS and not view.normalized:
        shrunk = -sum(log10(max(gain, 1e-30)) for _, gain in faint) / 2
        reason = f"Over {len(faint)} layers signals shrink by about {round(shrunk)} powers of ten."
        mend = 'Leave the initializer out, or use "he_normal": its variance follows from the width of the layer.'
        yield Finding(faint[0][0].said("initializer"), reason, mend)


@rule(f"{GOODFELLOW}, section 8.4")
def large_bias(view: View) -> Findings:
    """Biases start at zero or a little above: a large one decides for a unit before its inputs do."""
    for site, value in _constant_biases(view):
        if abs(value) > LARGE_BIAS and not isinstance(site.layer, Recurrent):
            reason = f"Every unit starts {value:g} away from zero, whatever its inputs say."
            yield Finding(site.said("bias_initializer"), reason, "Leave it out; 0.01 to 0.1 before ReLU.")


@rule(f"{GOODFELLOW}, section 8.4")
def dead_bias(view: View) -> Findings:
    """A negative bias before ReLU starts units where they give nothing and have no gradient."""
    for site, value in _constant_biases(view):
        if value < 0 and isinstance(site.felt, Relu | Relu6):
            reason = (
                f"With a bias of {value:g} many units start where {site.felt.type} is zero, and so is its gradient."
            )
            yield Finding(site.said("bias_initializer"), reason, "Leave it out, or use 0.01.")


def _with_kernel(view: View) -> list[Site]:
    return [site for site in view.sites if site.initializer is not None]


def _starts(site: Site, *prefixes: str) -> bool:
    return site.initializer is not None and site.initializer.type.startswith(prefixes)


def _name(site: Site) -> str:
    return site.initializer.type if site.initializer is not None else "none"


def _gain(site: Site) -> float | None:
    """Return fan_in times the mean square of a weight: by how much a layer multiplies the variance of its inputs."""
    square = _mean_square(site.initializer)
    if isinstance(site.initializer, Orthogonal):
        return site.initializer.gain**2
    if isinstance(site.initializer, VarianceScaling) and site.initializer.mode == "fan_in":
        return site.initializer.scale
    return None if square is None or site.fan_in is None else square * site.fan_in


def _mean_square(start: Initializer | None) -> float | None:
    if isinstance(start, Normal | TruncatedNormal):
        return start.mean**2 + start.std**2
    if isinstance(start, Uniform):
        return (start.low**2 + start.low * start.high + start.high**2) / 3
    return None


def _constant_biases(view: View) -> list[tuple[Site, float]]:
    """Return the layers whose biases all start at one value, and that value."""
    found = []
    for site in view.weighted:
        if isinstance(site.layer, WeightedLayer) and site.layer.use_bias:
            start = bias_initializer(site.layer, view.spec.network)
            value = start.value if isinstance(start, Constant) else 1.0 if isinstance(start, Ones) else 0.0
            found.append((site, value))
    return found
