"""Widths, kernels and depths."""

from math import prod

from service.advice.rules import Finding, Findings, rule
from service.advice.sources import HE_RESIDUAL, SZEGEDY
from service.advice.view import View
from service.blocks.adam import AdamW
from service.blocks.composite import Residual
from service.blocks.convolution import Conv2d, Conv3d, Convolution
from service.blocks.dense import Dense
from service.blocks.lion import Lion
from service.blocks.pooling import Pooling
from service.blocks.reshaping import Flatten
from service.blocks.separable import Depthwise
from service.blocks.transposed import TransposedConvolution

MOST_PER_ROW = 10
WIDE_KERNEL = 7
HUGE_MAP = 10_000
"""Values of a feature map from which the dense layer behind it holds most of a network's weights."""
PLAIN_DEPTH = 20
"""Layers in a row from which more of them train worse, not better."""


@rule(f"{SZEGEDY}, section 2, principle 1")
def bottleneck(view: View) -> Findings:
    """A layer narrower than the output leaves no room to tell all outputs apart."""
    outputs = min((end.values for end in view.ends if end.values is not None), default=None)
    for site in view.top:
        narrow = site.values is not None and outputs is not None and site.values < outputs
        if narrow and site in view.hidden:
            reason = f"It has {site.values} outputs, fewer than the {outputs} of the network."
            yield Finding(site.path, reason, "Make it at least as wide as the last layer.")


@rule('Zhang et al. 2017, "Understanding Deep Learning Requires Rethinking Generalization", section 4')
def unchecked_capacity(view: View) -> Findings:
    """A network with many more parameters than rows can learn them all by heart, unless something keeps it from it."""
    rows = view.known.training_rows
    if rows and view.parameters > MOST_PER_ROW * rows and not _regularized(view):
        reason = f"{view.parameters:,} parameters can learn {rows:,} rows by heart, and nothing regularises them."
        mend = "Add dropout, weight decay, augmentation or early stopping, or use a smaller network."
        yield Finding("network.layers", reason, mend)


@rule('Simonyan and Zisserman 2015, "Very Deep Convolutional Networks", section 2.3')
def wide_kernel(view: View) -> Findings:
    """Three convolutions of 3 x 3 see as far as one of 7 x 7, with half the weights and three activations."""
    for site, layer in view.of(Conv2d, Conv3d)[1:]:
        if min(layer.kernel_size) >= WIDE_KERNEL and layer.groups == 1:
            size = " x ".join(map(str, layer.kernel_size))
            reason = f"A kernel of {size} has many weights and one activation; only the first layer gains by it."
            yield Finding(f"{site.path}.kernel_size", reason, "Stack layers with kernels of 3 and activations between.")


@rule('Wu et al. 2019, "Convolution with Even-Sized Kernels and Symmetric Padding"')
def even_kernel(view: View) -> Findings:
    """An even kernel with padding "same" needs one zero more on one side, and shifts the map at every layer."""
    for site, layer in view.of(Convolution, Depthwise):
        if not isinstance(layer, Convolution | Depthwise) or layer.padding != "same":
            continue
        axes = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
        if any(size % 2 == 0 and step == 1 and gap % 2 for size, step, gap in axes):
            reason = "Zeros are added on one side only, so that every such layer shifts the map by half a place."
            yield Finding(f"{site.path}.kernel_size", reason, "Use an odd kernel size, e.g. 3.")


@rule('He et al. 2019, "Bag of Tricks for Image Classification with Convolutional Neural Networks", section 4')
def skipped_places(view: View) -> Findings:
    """Where the stride is longer than the window, places in between are never looked at."""
    for site, layer in view.of(Pooling, Convolution, Depthwise):
        skipped = _skipped(layer)
        if skipped:
            reason = f"{skipped:.0%} of what arrives is never looked at."
            yield Finding(f"{site.path}.stride", reason, "Use a window at least as long as the stride.")


@rule('Lin, Chen and Yan 2014, "Network in Network", section 3.2')
def large_flatten(view: View) -> Findings:
    """Global pooling turns feature maps into features without weights; a dense layer behind all of a map overfits."""
    for site, _ in view.of(Flatten):
        following = next((other for other in site.behind if other.weighted), None)
        maps = any(isinstance(other.layer, Convolution | Depthwise) for other in site.before)
        if maps and following is not None and isinstance(following.layer, Dense) and (site.values or 0) >= HUGE_MAP:
            reason = f"The dense layer behind it has a weight for each of {site.values:,} values, for every unit."
            yield Finding(site.path, reason, 'Use "global_average_pool", or pool more before.')


@rule(f"{HE_RESIDUAL}, section 1")
def plain_depth(view: View) -> Findings:
    """Without ways past them, more layers make the training error of deep networks larger, not smaller."""
    plain = [site for site in view.top if site.weighted]
    if len(plain) > PLAIN_DEPTH and not view.has(Residual):
        reason = f"{len(plain)} layers in a row: signals and gradients pass through every one of them."
        yield Finding("network.layers", reason, 'Put two or three layers each into a "residual".')


@rule(f"{HE_RESIDUAL}, section 3.2")
def linear_residual(view: View) -> Findings:
    """A residual around one layer without an activation is just another linear layer."""
    for site, layer in view.of(Residual):
        inner = site.inside[0]
        bent = any(one.own is not None or one.inside or getattr(one.layer, "nonlinear", False) for one in inner)
        if not bent and sum(one.weighted for one in inner) == 1 and all(one.felt is None for one in inner):
            reason = f"x + W x is a linear layer like any other; the {layer.type} around it brings nothing."
            yield Finding(f"{site.path}.layers", reason, "Put two layers with weights into it, an activation between.")


@rule('Odena, Dumoulin and Olah 2016, "Deconvolution and Checkerboard Artifacts"')
def checkerboard(view: View) -> Findings:
    """A transposed convolution whose stride does not divide its kernel paints some places more often than others."""
    for site, layer in view.of(TransposedConvolution):
        axes = zip(layer.kernel_size, layer.stride, strict=True)
        if any(step > 1 and size % step for size, step in axes):
            reason = "Copies of the kernel overlap unevenly, which shows as a chequerboard."
            mend = 'Use a kernel size that the stride divides, or "upsample" and a convolution.'
            yield Finding(f"{site.path}.kernel_size", reason, mend)


@rule('Wang et al. 2018, "Understanding Convolution for Semantic Segmentation", section 3.2')
def gridding(view: View) -> Findings:
    """Convolutions in a row with one and the same dilation only ever see every so many places."""
    for site, layer in view.of(Convolution):
        after = next((other for other in site.behind if other.weighted), None)
        if after is None or not isinstance(after.layer, Convolution) or not isinstance(layer, Convolution):
            continue
        gaps = [min(one.dilation) if min(one.kernel_size) > 1 else 1 for one in (layer, after.layer)]
        if gaps[0] == gaps[1] > 1 and max(layer.stride) == 1:
            reason = f"With a dilation of {gaps[0]} twice, a place never hears of the places beside it."
            yield Finding(f"{after.path}.dilation", reason, "Vary the dilation from layer to layer, e.g. 1, 2, 5.")


def _skipped(layer: object) -> float:
    """Return the share of places that no window covers."""
    if isinstance(layer, Pooling):
        axes = list(zip(layer.pool_size, layer.stride or layer.pool_size, strict=True))
    elif isinstance(layer, Convolution | Depthwise) and max(layer.dilation) == 1:
        axes = list(zip(layer.kernel_size, layer.stride, strict=True))
    else:
        return 0.0
    return 1.0 - prod(min(1.0, size / step) for size, step in axes)


def _regularized(view: View) -> bool:
    spec, chosen = view.spec, view.spec.regularization
    decay = isinstance(spec.optimizer, AdamW | Lion) and spec.optimizer.weight_decay > 0
    penalised = view.network is not None and bool(view.network.kernels)
    drawn = view.network is not None and bool(view.network.stochastic_layers)
    whole = chosen.early_stopping is not None or chosen.mixing is not None
    return decay or penalised or drawn or whole or bool(spec.data.augmentation)
