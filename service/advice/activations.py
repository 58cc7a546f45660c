"""Activations, and where they stand."""

from service.advice.rules import Finding, Findings, rule
from service.advice.site import Site
from service.advice.sources import GERON, GLOROT, GOODFELLOW, KLAMBAUER, LECUN
from service.advice.view import View
from service.blocks.activations import Activation, HardSigmoid, Sigmoid, Softmax, Step
from service.blocks.composite import Residual
from service.blocks.layers import WeightedLayer
from service.blocks.normalization import BatchNorm
from service.blocks.pooling import GlobalPooling, Pooling
from service.blocks.random_rectifier import Rrelu
from service.blocks.rectifiers import Elu, LeakyRelu, Prelu, Relu, Relu6, Selu, Softplus
from service.blocks.recurrent import Recurrent
from service.blocks.reshaping import ActivationLayer
from service.blocks.separable import Depthwise, Separable

FADING = 3
"""Layers with a saturating activation from which gradients fade noticeably."""
DEEP = 5
"""Hidden layers above which the better activations pay."""


@rule(f"{KLAMBAUER}, section 2")
def selu_input(view: View) -> Findings:
    """SELU keeps mean 0 and variance 1 only of inputs that have them."""
    if _selu(view) and not view.steps & {"standardize", "pca_whitening"}:
        reason = "SELU normalises itself only when the input has mean 0 and variance 1."
        yield Finding("data.preprocessing", reason, 'Add "standardize".')


@rule(GERON)
def selu_recurrent(view: View) -> Findings:
    """SELU's mean 0 and variance 1 are proven for feed-forward networks, not behind or before recurrent layers."""
    if _selu(view) and view.has(Recurrent):
        site = _selu(view)[0]
        reason = "What a recurrent layer gives has neither mean 0 nor variance 1, and SELU does not bring them back."
        yield Finding(site.own_path, reason, 'Use "elu" or "relu" beside recurrent layers.')


@rule(GERON)
def selu_skip(view: View) -> Findings:
    """SELU's mean 0 and variance 1 are proven for layers in a row: a sum of two ways has twice the variance."""
    for site in _selu(view):
        if any(isinstance(layer, Residual) for layer in site.around):
            reason = "The sum of a residual has the variance of both ways, and SELU no longer normalises itself."
            yield Finding(site.own_path, reason, 'Use "relu" or "gelu" with a normalisation inside of residual layers.')
            return


@rule(f"{KLAMBAUER}, section 1")
def selu_batch_norm(view: View) -> Findings:
    """SELU is there to make normalisation layers needless; together each undoes the other's work."""
    norms = [site for site, _ in view.of(BatchNorm)]
    if _selu(view) and norms:
        reason = "SELU normalises by itself what this layer normalises again."
        yield Finding(norms[0].path, reason, 'Leave it out, or use "relu" with it.')


@rule(GERON)
def activation_ranking(view: View) -> Findings:
    """Deep networks do best with SELU, then ELU, leaky ReLU, ReLU, tanh and sigmoid, in this order."""
    plain = [site for site in view.hidden if isinstance(site.felt, Relu | Relu6) and not site.around]
    if len(plain) > DEEP and not view.normalized and not view.has(Residual):
        reason = f"{len(plain)} layers with ReLU and no normalisation: units that die in one starve those behind it."
        yield Finding(plain[0].own_path, reason, 'Use "selu", "elu" or "leaky_relu", or add normalisations.')


@rule(f"{GLOROT}, section 3")
def saturating_depth(view: View) -> Findings:
    """The gradient of sigmoid and tanh is near zero for large inputs, and products of such fade."""
    sites = [site for site in view.weighted if site.felt is not None and site.felt.saturates]
    if len(sites) >= FADING and view.spec.pretrain is None and not view.normalized:
        reason = f"{len(sites)} layers with a saturating activation: gradients fade on the way to the first ones."
        mend = 'Use "selu", "elu" or "relu" in the hidden layers, or put a "batch_norm" before the activations.'
        yield Finding(sites[0].own_path, reason, mend)


@rule(f"{LECUN}, section 4.4")
def sigmoid_hidden(view: View) -> Findings:
    """Outputs of a sigmoid are all positive, so that the weights behind it can only grow or shrink together."""
    for site in view.hidden:
        if isinstance(site.felt, Sigmoid | HardSigmoid) and view.spec.pretrain is None and not _gates(site):
            reason = f"What {site.felt.type} gives has a mean far from zero, which slows the layer behind it."
            yield Finding(site.own_path, reason, 'Use "tanh", or better "relu".')
            return


@rule('Rumelhart, Hinton and Williams 1986, "Learning Representations by Back-Propagating Errors"')
def step_gradient(view: View) -> Findings:
    """A step has gradient zero: nothing in front of it ever learns."""
    for site in view.sites:
        if isinstance(site.felt, Step):
            reason = "The gradient of a step is zero, so that this layer and all before it stay as they started."
            yield Finding(site.felt_path, reason, 'Use "tanh" or "relu".')


@rule('Maas, Hannun and Ng 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models"')
def leaky_slope(view: View) -> Findings:
    """A slope of 1 makes a leaky unit linear; a larger one makes signals grow without bound."""
    for site in view.sites:
        slope, name = _slope(site.own)
        if slope >= 1:
            reason = f"With a slope of {slope:g} for negative inputs, stacked layers are linear or explode."
            yield Finding(f"{site.own_path}.{name}", reason, "Use a slope between 0.01 and 0.3.")


@rule('Barron 2017, "Continuously Differentiable Exponential Linear Units"')
def elu_alpha(view: View) -> Findings:
    """With an alpha other than 1 the gradient of ELU jumps at zero."""
    for site in view.sites:
        if isinstance(site.own, Elu) and site.own.alpha != 1:
            reason = f"At zero the gradient jumps from {site.own.alpha:g} to 1."
            yield Finding(f"{site.own_path}.alpha", reason, 'Use "celu" with the same alpha, whose gradient does not.')


@rule(f"{GOODFELLOW}, section 6.3.3")
def softplus_hidden(view: View) -> Findings:
    """Softplus is smooth everywhere, and yet hidden layers learn better with ReLU."""
    for site in view.hidden:
        if isinstance(site.felt, Softplus):
            reason = "Its outputs are never zero and all positive; networks with relu were found to do better."
            yield Finding(site.felt_path, reason, 'Use "relu", or "gelu" where smoothness matters.')
            return


@rule(f"{GOODFELLOW}, section 6.2.2.3")
def softmax_hidden(view: View) -> Findings:
    """Softmax shares one unit of signal among all units of a layer; it is for outputs, and for choosing."""
    for site in view.hidden:
        if isinstance(site.felt, Softmax) and not _gates(site):
            reason = "The units of the layer compete for a sum of 1, and nearly all of them come close to zero."
            yield Finding(site.felt_path, reason, 'Use "relu"; the loss applies softmax to the outputs by itself.')


@rule(f"{GOODFELLOW}, section 6.1")
def linear_stack(view: View) -> Findings:
    """Two linear layers in a row can do no more than one."""
    for site in view.hidden:
        following = _next_weighted(site)
        if site.felt is not None or following is None or _bends(site) or _bends(following):
            continue
        # Depthwise, then pointwise: the two halves of a separable convolution, which does without on purpose.
        if isinstance(site.layer, Depthwise) and not isinstance(site.layer, Separable):
            continue
        reason = "Without an activation, this layer and the next with weights can do no more than one alone."
        mend = 'Give it an activation, e.g. "relu", or set network.activation for all hidden layers.'
        yield Finding(f"{site.path}.activation", reason, mend)


@rule(f"{GOODFELLOW}, section 6.3")
def double_activation(view: View) -> Findings:
    """A hidden layer is an affine map and one activation; another behind it is rarely meant."""
    for site in view.weighted:
        for other in site.behind if site.own is not None else ():
            if isinstance(other.layer, ActivationLayer) and other.own is not None and site.own is not None:
                reason = f"{other.own.type} here comes behind {site.own.type} of {site.path}, which has one already."
                mend = f'Set "activation": "linear" on {site.path}, or leave this layer out.'
                yield Finding(other.path, reason, mend)
            if not other.layer.transparent:
                break


@rule('He et al. 2016, "Identity Mappings in Deep Residual Networks", section 4')
def residual_activation(view: View) -> Findings:
    """The way past the layers of a residual should stay free: what bends it hinders signals and gradients."""
    for site, layer in view.of(Residual):
        bend = layer.activation
        if bend is not None and (bend.saturates or isinstance(bend, Softmax | Step)):
            reason = f"{bend.type} squeezes the sum, so that nothing passes the residual unchanged any more."
            yield Finding(f"{site.path}.activation", reason, 'Leave it out, or use "relu".')


def _selu(view: View) -> list[Site]:
    return [site for site in view.sites if isinstance(site.felt, Selu)]


def _slope(activation: Activation | None) -> tuple[float, str]:
    if isinstance(activation, LeakyRelu | Prelu):
        return activation.slope, "slope"
    return (activation.upper, "upper") if isinstance(activation, Rrelu) else (0.0, "")


def _gates(site: Site) -> bool:
    """Tell whether the layer is in a branch of its own, where probabilities may weigh what others give."""
    return bool(site.around)


def _bends(site: Site) -> bool:
    return isinstance(site.layer, WeightedLayer) and site.layer.nonlinear


def _next_weighted(site: Site) -> Site | None:
    """Return the layer with weights behind `site`, None where something else may bend what is between them."""
    for other in site.behind:
        if other.weighted:
            return other
        if not other.layer.transparent or isinstance(other.layer, Pooling | GlobalPooling):
            return None
    return None
