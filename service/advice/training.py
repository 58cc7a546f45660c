"""Advice on data, optimizers and regularisation."""

from collections.abc import Iterator, Sequence

from service.advice.view import Finding, Rule, View
from service.blocks.adam import AdamFamily
from service.blocks.layers import WeightedLayer

FAST = 0.05
"""Learning rate above which an adaptive optimizer, whose steps are about that long, rarely settles."""
SCALERS = {"standardize", "min_max"}


def unscaled_input(view: View) -> Iterator[Finding]:
    """Features of different sizes make a loss surface that is steep one way and flat another (LeCun et al. 1998)."""
    if not view.steps & SCALERS:
        reason = "Features of different sizes learn at different speeds."
        yield Finding(
            "data.preprocessing", reason, 'Add "standardize" or "min_max", unless the data are scaled already.'
        )


def unscaled_target(view: View) -> Iterator[Finding]:
    """The first steps of a regression go into reaching the size of the target."""
    if view.spec.loss.task == "regression" and view.spec.data.target_preprocessing is None:
        reason = (
            "Unless the target is near mean 0 and variance 1, learning starts far off and its speed depends on units."
        )
        mend = 'Set data.target_preprocessing to "standardize"; predictions come back in the target\'s own units.'
        yield Finding("data.target_preprocessing", reason, mend)


def coupled_decay(view: View) -> Iterator[Finding]:
    """L2 inside Adam is divided by the gradient's size, so that it decays little (Loshchilov and Hutter 2019)."""
    if not isinstance(view.spec.optimizer, AdamFamily):
        return
    for path in _places_of_l2(view):
        reason = (
            f"{view.spec.optimizer.type} divides the penalty by the size of the gradient: it hardly decays weights."
        )
        yield Finding(path, reason, 'Use the optimizer "adamw" with weight_decay, and no L2.')


def _places_of_l2(view: View) -> Iterator[str]:
    spec = view.spec
    if spec.regularization.l2:
        yield "regularization.l2"
    if spec.network.regularizer is not None and spec.network.regularizer.l2:
        yield "network.regularizer.l2"
    for site in view.sites:
        if isinstance(site.layer, WeightedLayer) and site.layer.regularizer is not None and site.layer.regularizer.l2:
            yield f"{site.path}.regularizer.l2"


def fast_adaptive(view: View) -> Iterator[Finding]:
    """The steps of an adaptive optimizer are about as long as the learning rate, whatever the gradient."""
    optimizer = view.spec.optimizer
    if optimizer.adaptive and optimizer.learning_rate > FAST:
        reason = f"Every step of {optimizer.type} moves a weight by about {optimizer.learning_rate:g}."
        yield Finding("optimizer.learning_rate", reason, "Start from 0.001.")


def no_validation(view: View) -> Iterator[Finding]:
    """Without rows held back nothing tells when learning turns into memorising."""
    if view.spec.data.split.validation == 0:
        reason = "Without validation rows nothing shows overfitting, and the last weights are kept, not the best."
        yield Finding("data.split.validation", reason, "Hold back 0.1 to 0.2 of the rows.")


RULES: Sequence[Rule] = (unscaled_input, unscaled_target, coupled_decay, fast_adaptive, no_validation)
