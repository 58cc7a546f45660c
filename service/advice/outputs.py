"""Outputs, and the losses that read them."""

from service.advice.rules import Finding, Findings, rule
from service.advice.sources import GOODFELLOW, SZEGEDY
from service.advice.view import View
from service.blocks.activations import HardSigmoid, Sigmoid, Softmax
from service.blocks.distribution_losses import KlDivergence, Poisson
from service.blocks.losses import BinaryCrossEntropy, ClassLoss, CrossEntropy, Focal, Hinge, Loss
from service.blocks.rectifiers import Relu, Relu6, Softplus

SMOOTH = 0.3
FOCUS = 5.0
SHARES = {"log_loss", "brier", "ece"}
"""Metrics that take probabilities at their word."""


@rule(f"{GOODFELLOW}, section 6.2.2")
def applied_link(view: View) -> Findings:
    """A loss applies its softmax, sigmoid or exponential by itself; a second one flattens the gradient."""
    for end in view.ends:
        if end.felt is not None and isinstance(end.felt, _links(view.spec.loss)):
            link = "exponential" if isinstance(view.spec.loss, Poisson) else end.felt.type
            reason = (
                f"{view.spec.loss.type} applies its {link} to these outputs by itself: after {end.felt.type} they are "
                "squeezed twice, no probability gets near 0 or 1, and the gradient that would say so vanishes."
            )
            yield Finding(end.felt_path, reason, 'Set it to "linear": predictions apply the link, too.')


@rule(f"{GOODFELLOW}, section 6.2.2.1")
def output_activation(view: View) -> Findings:
    """The loss reads plain outputs; an activation on them takes away values that it may need."""
    for end in view.ends:
        if end.felt is None or isinstance(end.felt, _links(view.spec.loss)):
            continue
        fits = isinstance(end.felt, Sigmoid | HardSigmoid) and view.spec.data.target_preprocessing == "min_max"
        if not fits:
            reason = f"The loss reads the last layer's outputs, and {end.felt.type} keeps some values from it."
            mend = 'Leave it out ("linear"), unless the targets are known to lie in its range.'
            yield Finding(end.felt_path, reason, mend)


@rule('Platt 1999, "Probabilistic Outputs for Support Vector Machines"')
def hinge_probabilities(view: View) -> Findings:
    """The hinge loss asks for a margin, and its outputs are no probabilities."""
    for index, metric in enumerate(view.spec.metrics if isinstance(view.spec.loss, Hinge) else ()):
        if metric.type in SHARES:
            reason = f"{metric.type} takes probabilities at their word, and hinge only trains which output is largest."
            yield Finding(f"metrics[{index}]", reason, 'Use the loss "cross_entropy", or metrics of decisions.')


@rule(f"{SZEGEDY}, section 7")
def label_smoothing(view: View) -> Findings:
    """A tenth of the target spread over the classes keeps a network from being too sure; much more hides the target."""
    loss = view.spec.loss
    if isinstance(loss, CrossEntropy | BinaryCrossEntropy) and loss.label_smoothing > SMOOTH:
        reason = f"{loss.label_smoothing:.0%} of every target is spread over all classes, right and wrong alike."
        yield Finding("loss.label_smoothing", reason, "Use 0.1.")


@rule('Lin et al. 2017, "Focal Loss for Dense Object Detection", section 3.2')
def focal_gamma(view: View) -> Findings:
    """Focal loss was found to help with a gamma up to 5, best 2; above it only the worst rows count."""
    if isinstance(view.spec.loss, Focal) and view.spec.loss.gamma > FOCUS:
        reason = f"With gamma {view.spec.loss.gamma:g} nearly all weight is on a few rows, mislabelled ones first."
        yield Finding("loss.gamma", reason, "Use 2.")


def _links(loss: Loss) -> tuple[type, ...]:
    """Return the activations that do again what the loss does by itself."""
    if isinstance(loss, ClassLoss | KlDivergence):
        return Softmax, Sigmoid, HardSigmoid
    return (Relu, Relu6, Softplus) if isinstance(loss, Poisson) else ()
