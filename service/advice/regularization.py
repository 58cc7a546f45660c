"""Penalties, constraints, clipping and mixing."""

from collections.abc import Iterator

from service.advice.rules import Finding, Findings, rule
from service.advice.sources import GOODFELLOW, PASCANU, SRIVASTAVA
from service.advice.view import View
from service.blocks.adam import AdamFamily, AdamW
from service.blocks.mixing import Mixup

STRONG = 0.1
STRONG_DECAY = 0.5
TINY_NORM = 0.01
TINY_VALUE = 1e-4
TIGHT = 0.5


@rule('Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", section 2')
def coupled_decay(view: View) -> Findings:
    """L2 inside Adam is divided by the gradient's size, so that it decays little."""
    if not isinstance(view.spec.optimizer, AdamFamily):
        return
    for path, _ in _penalties(view, "l2"):
        reason = (
            f"{view.spec.optimizer.type} divides the penalty by the size of the gradient: it hardly decays weights."
        )
        yield Finding(path, reason, 'Use the optimizer "adamw" with weight_decay, and no L2.')


@rule(f"{GOODFELLOW}, section 11.4.1")
def strong_penalty(view: View) -> Findings:
    """A penalty that outweighs the loss makes all weights zero."""
    for path, value in [*_penalties(view, "l1"), *_penalties(view, "l2")]:
        if value > STRONG:
            reason = f"At {value:g} the penalty soon outweighs the loss, and the network learns to answer the mean."
            yield Finding(path, reason, "Start from 0.0001.")


@rule(f"{GOODFELLOW}, section 11.4.1")
def strong_decay(view: View) -> Findings:
    """Weight decay beyond some tenths takes weights away faster than they are learned."""
    optimizer = view.spec.optimizer
    if isinstance(optimizer, AdamW) and optimizer.weight_decay > STRONG_DECAY:
        reason = f"Every step takes {optimizer.weight_decay:g} times the rate off all kernels."
        yield Finding("optimizer.weight_decay", reason, "Start from 0.01.")


@rule(f"{SRIVASTAVA}, section A.3")
def tight_max_norm(view: View) -> Findings:
    """Constraints on the norm of weights help at 3 to 4; far smaller ones leave no room to learn."""
    for path, norm in _norms(view):
        if norm < TIGHT:
            reason = f"Weights into a unit may have a norm of {norm:g} together, which keeps its outputs near zero."
            yield Finding(path, reason, "Use 3 or 4.")


@rule(f"{PASCANU}, section 3.2")
def tight_clipping(view: View) -> Findings:
    """Clipping is for the rare gradient that explodes, at some times the usual norm."""
    for name, least in (("clip_norm", TINY_NORM), ("clip_value", TINY_VALUE)):
        limit = getattr(view.spec.regularization, name)
        if limit is not None and limit < least:
            reason = f"Nearly every gradient is larger than {limit:g}, so that all steps become equally long."
            yield Finding(f"regularization.{name}", reason, "Start from 1.")


@rule('Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 3.1')
def mixup_alpha(view: View) -> Findings:
    """Mixup helps with an alpha of 0.1 to 0.4; large ones underfit."""
    mixing = view.spec.regularization.mixing
    if isinstance(mixing, Mixup) and mixing.alpha > 1:
        reason = f"With alpha {mixing.alpha:g} nearly every row is half another one, and the network underfits."
        yield Finding("regularization.mixing.alpha", reason, "Use 0.2.")


def _penalties(view: View, name: str) -> Iterator[tuple[str, float]]:
    """Return where L1 or L2 is given, and how much."""
    spec = view.spec
    if value := getattr(spec.regularization, name):
        yield f"regularization.{name}", value
    if spec.network.regularizer is not None and (value := getattr(spec.network.regularizer, name)):
        yield f"network.regularizer.{name}", value
    for site in view.sites:
        own = getattr(site.layer, "regularizer", None)
        if own is not None and (value := getattr(own, name)):
            yield f"{site.path}.regularizer.{name}", value


def _norms(view: View) -> Iterator[tuple[str, float]]:
    spec = view.spec
    if spec.regularization.max_norm is not None:
        yield "regularization.max_norm", spec.regularization.max_norm
    if spec.network.constraint is not None and spec.network.constraint.max_norm is not None:
        yield "network.constraint.max_norm", spec.network.constraint.max_norm
    for site in view.sites:
        own = getattr(site.layer, "constraint", None)
        if own is not None and own.max_norm is not None:
            yield f"{site.path}.constraint.max_norm", own.max_norm
