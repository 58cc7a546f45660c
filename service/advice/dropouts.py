"""Dropout: how much, of which kind, where."""

from math import prod

from service.advice.rules import Finding, Findings, rule
from service.advice.site import Site
from service.advice.sources import KLAMBAUER, SRIVASTAVA
from service.advice.view import View
from service.blocks.attention import MultiHeadAttention
from service.blocks.convolution import Convolution
from service.blocks.dense import Dense
from service.blocks.dropout import AlphaDropout, Dropout, SpatialDropout
from service.blocks.layers import Layer
from service.blocks.optimizers import Sgd
from service.blocks.random_rectifier import Rrelu
from service.blocks.rectifiers import Selu
from service.blocks.recurrent import Recurrent
from service.blocks.reshaping import ActivationLayer
from service.blocks.separable import Depthwise

USUAL_RATES = (0.1, 0.5)
INPUT_RATE = 0.2
CONVOLUTION_RATE = 0.25
ALPHA_RATE = 0.2
Dropping = Dropout | SpatialDropout | AlphaDropout


@rule(f"{SRIVASTAVA}, section A.4")
def dropout_rate(view: View) -> Findings:
    """Rates between 0.1 and 0.5 are those that help."""
    low, high = USUAL_RATES
    for site, layer in view.of(Dropout, SpatialDropout):
        rate = _rate(layer)
        if not low <= rate <= high:
            effect = "hardly regularises" if rate < low else "leaves too little to learn from"
            yield Finding(
                f"{site.path}.rate", f"A rate of {rate:g} {effect}.", f"Use a rate between {low:g} and {high:g}."
            )


@rule(f'{KLAMBAUER}, section 2, "New Dropout Technique"')
def alpha_dropout_rate(view: View) -> Findings:
    """Alpha dropout works with small rates: 0.05 or 0.1."""
    for site, layer in view.of(AlphaDropout):
        if layer.rate > ALPHA_RATE:
            reason = f"At a rate of {layer.rate:g} the values that were put in outweigh what SELU keeps in balance."
            yield Finding(f"{site.path}.rate", reason, "Use 0.05 or 0.1.")


@rule(f'{KLAMBAUER}, section 2, "New Dropout Technique"')
def selu_dropout(view: View) -> Findings:
    """Plain dropout puts zeros in, which move the mean and variance that SELU keeps."""
    for site, _ in view.of(Dropout):
        if isinstance(_activation_before(site), Selu):
            reason = "The zeros that dropout puts in shift the mean and variance that SELU keeps at 0 and 1."
            yield Finding(f"{site.path}.type", reason, 'Use "alpha_dropout" with a rate of 0.05 or 0.1.')


@rule(f"{SRIVASTAVA}, section A.4")
def dropout_on_inputs(view: View) -> Findings:
    """Of the inputs themselves at most a fifth is dropped."""
    for site in view.top:
        if isinstance(site.layer, Dropping) and site.layer.rate > INPUT_RATE:
            reason = f"A rate of {site.layer.rate:g} takes away features that no other unit can stand in for."
            yield Finding(
                f"{site.path}.rate", reason, f"Use at most {INPUT_RATE:g} before the first layer with weights."
            )
        if not site.layer.transparent or site.weighted:
            return


@rule(f"{SRIVASTAVA}, section B.2")
def convolution_dropout_rate(view: View) -> Findings:
    """Convolutions share their few weights among all places and need less dropout than dense layers."""
    for site, layer in view.of(Dropout, SpatialDropout):
        rate = _rate(layer)
        if CONVOLUTION_RATE < rate <= USUAL_RATES[1] and _convolved(site) and len(site.input_shape) > 1:
            reason = f"A rate of {rate:g} is one for dense layers; behind a convolution it costs more than it helps."
            yield Finding(f"{site.path}.rate", reason, "Use 0.1 to 0.25.")


@rule('Tompson et al. 2015, "Efficient Object Localization Using Convolutional Networks", section 3.2')
def dropout_of_pixels(view: View) -> Findings:
    """Neighbours in a feature map are so alike that dropping single ones takes nothing away."""
    for site, _ in view.of(Dropout):
        direct = next((other for other in site.before if not _passes(other.layer)), None)
        if direct is not None and isinstance(direct.layer, Convolution | Depthwise) and prod(site.input_shape[1:]) > 1:
            reason = "What is dropped at one place of a feature map can be read off from the place beside it."
            yield Finding(f"{site.path}.type", reason, 'Use "spatial_dropout", which drops whole channels.')


@rule('Gal and Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks"')
def dropout_between_steps(view: View) -> Findings:
    """Along a sequence the same units are dropped at every place; other ones each time are noise on the memory."""
    for site, after in view.pairs:
        before = next(iter(site.before), None)
        between = before is not None and isinstance(before.layer, Recurrent) and isinstance(after.layer, Recurrent)
        if isinstance(site.layer, Dropout) and between:
            reason = "It draws a new mask at every place of the sequence, which the state behind it cannot filter out."
            mend = f'Use "dropout" and "recurrent_dropout" of {after.path}, whose masks stay the same along a sequence.'
            yield Finding(site.path, reason, mend)


@rule(f"{SRIVASTAVA}, section 4")
def dropout_on_outputs(view: View) -> Findings:
    """Dropout behind the last layer with weights drops answers, not features."""
    for end in view.ends:
        for site in end.behind:
            if isinstance(site.layer, Dropping):
                reason = "It drops outputs of the network: answers, not features."
                yield Finding(site.path, reason, "Put it before the last layer with weights.")


@rule(f"{SRIVASTAVA}, section A.1")
def dropout_bottleneck(view: View) -> Findings:
    """A layer needs 1 / (1 - rate) times as many units when dropout stands behind it."""
    outputs = min((end.values for end in view.ends if end.values is not None), default=None)
    for site, layer in view.of(Dropout):
        before = next((other for other in site.before if not _passes(other.layer)), None)
        if outputs is None or before is None or not isinstance(before.layer, Dense) or before in view.ends:
            continue
        kept = (before.values or 0) * (1.0 - layer.rate)
        if kept < outputs <= (before.values or 0):
            reason = f"Of {before.values} units {kept:.3g} are left on average, fewer than the {outputs} outputs."
            yield Finding(f"{before.path}.units", reason, "Give the layer more units, or drop fewer.")


@rule(f"{SRIVASTAVA}, section A.2")
def dropout_without_momentum(view: View) -> Findings:
    """The gradients of dropout cancel each other out in part; momentum of 0.95 to 0.99 makes up for it."""
    optimizer = view.spec.optimizer
    if isinstance(optimizer, Sgd) and not optimizer.momentum and view.has(Dropout, SpatialDropout, AlphaDropout):
        reason = "Dropout makes gradients noisy, and without momentum every step follows the noise of one mask."
        yield Finding("optimizer.momentum", reason, 'Use a momentum of 0.9 to 0.95, or "adamw".')


@rule('Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation", section 4')
def no_uncertainty(view: View) -> Findings:
    """Monte-Carlo predictions differ only through dropout."""
    if not any(_draws(site) for site in view.sites):
        reason = "Without dropout every Monte-Carlo sample is the same: predictions come without a spread."
        mend = 'Add {"type": "dropout", "rate": 0.2} before the last layer.'
        yield Finding("network.layers", reason, mend)


def _rate(layer: Layer) -> float:
    return layer.rate if isinstance(layer, Dropping) else 0.0


def _draws(site: Site) -> bool:
    layer = site.layer
    if isinstance(layer, Recurrent | MultiHeadAttention):
        return layer.dropout > 0 or (isinstance(layer, Recurrent) and layer.recurrent_dropout > 0)
    return (layer.stochastic and getattr(layer, "rate", 1.0) > 0) or isinstance(site.own, Rrelu)


def _passes(layer: Layer) -> bool:
    """Tell whether a layer leaves every value in its place."""
    return isinstance(layer, ActivationLayer | Dropping) or layer.normalizes


def _activation_before(site: Site) -> object:
    for other in site.before:
        if other.own is not None or not other.layer.transparent:
            return other.own
    return None


def _convolved(site: Site) -> bool:
    nearest = next((other for other in site.before if other.weighted), None)
    return nearest is not None and isinstance(nearest.layer, Convolution | Depthwise)
