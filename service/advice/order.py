"""Advice on layers and their order."""

from collections.abc import Iterator, Sequence
from math import prod

from service.advice.view import Finding, Rule, View
from service.blocks.dropout import Dropout
from service.blocks.layers import WeightedLayer
from service.blocks.normalization import BatchNorm
from service.blocks.reshaping import ActivationLayer

USUAL_RATES = (0.1, 0.5)
SMALL_BATCH = 8


def bias_before_batch_norm(view: View) -> Iterator[Finding]:
    """Batch normalisation subtracts the mean of each channel, and any bias with it."""
    for site, after in zip(view.sites, view.sites[1:], strict=False):
        biased = isinstance(site.layer, WeightedLayer) and site.layer.use_bias and site.own is None
        if biased and isinstance(after.layer, BatchNorm):
            reason = "The batch normalisation behind this layer subtracts the bias again, and adds one of its own."
            yield Finding(f"{site.path}.use_bias", reason, "Set use_bias to false.")


def dropout_rate(view: View) -> Iterator[Finding]:
    """Rates between 0.1 and 0.5 are those that help (Srivastava et al. 2014, section A.4)."""
    low, high = USUAL_RATES
    for site in view.sites:
        if isinstance(site.layer, Dropout) and not low <= site.layer.rate <= high:
            effect = "hardly regularises" if site.layer.rate < low else "leaves too little to learn from"
            reason = f"A rate of {site.layer.rate:g} {effect}."
            yield Finding(f"{site.path}.rate", reason, f"Use a rate between {low:g} and {high:g}.")


def dropout_before_normalization(view: View) -> Iterator[Finding]:
    """Dropout changes the variance that a normalisation behind it learns (Li et al. 2019)."""
    for site, after in zip(view.sites, view.sites[1:], strict=False):
        if isinstance(site.layer, Dropout) and after.layer.normalizes:
            reason = (
                "The variance with dropout, in training, is not that without it, which the normalisation then meets."
            )
            yield Finding(site.path, reason, "Put the dropout behind the normalisation and its activation.")


def dropout_on_outputs(view: View) -> Iterator[Finding]:
    """Dropout behind the last layer with weights drops answers, not features."""
    last = next((site for site in view.sites if site.last), None)
    for site in view.behind(last) if last else ():
        if isinstance(site.layer, Dropout):
            reason = "It drops outputs of the network: answers, not features."
            yield Finding(site.path, reason, "Put it before the last layer with weights.")


def no_uncertainty(view: View) -> Iterator[Finding]:
    """Monte-Carlo predictions differ only through dropout (Gal and Ghahramani 2016)."""
    if not any(isinstance(site.layer, Dropout) and site.layer.rate > 0 for site in view.sites):
        reason = "Without dropout every Monte-Carlo sample is the same: predictions come without a spread."
        mend = 'Add {"type": "dropout", "rate": 0.2} before the last layer.'
        yield Finding("network.layers", reason, mend)


def double_activation(view: View) -> Iterator[Finding]:
    """One activation behind another is rarely meant."""
    for site in view.sites:
        if not site.weighted or site.own is None:
            continue
        for other in view.behind(site):
            if isinstance(other.layer, ActivationLayer) and other.own is not None:
                reason = f"{other.own.type} here comes behind {site.own.type} of {site.path}, which has one already."
                yield Finding(
                    other.path, reason, f'Set "activation": "linear" on {site.path}, or leave this layer out.'
                )
            if not other.layer.transparent:
                break


def small_batch_norm(view: View) -> Iterator[Finding]:
    """The mean and variance of a few rows say little (Wu and He 2018)."""
    batch = view.spec.training.batch_size
    if batch != "all" and batch < SMALL_BATCH and any(isinstance(site.layer, BatchNorm) for site in view.sites):
        reason = f"Batch normalisation estimates mean and variance from {batch} rows, which is mostly noise."
        yield Finding("training.batch_size", reason, f'Use at least {SMALL_BATCH} rows, or "layer_norm".')


def bottleneck(view: View) -> Iterator[Finding]:
    """A layer narrower than the output leaves no room to tell all outputs apart."""
    last = next((site.output_shape for site in view.sites if site.last), None)
    for site in view.hidden if last is not None else ():
        if site.output_shape is not None and last is not None and prod(site.output_shape) < prod(last):
            reason = f"It has {prod(site.output_shape)} outputs, fewer than the {prod(last)} of the network."
            yield Finding(site.path, reason, "Make it at least as wide as the last layer.")


RULES: Sequence[Rule] = (
    bias_before_batch_norm,
    dropout_rate,
    dropout_before_normalization,
    dropout_on_outputs,
    no_uncertainty,
    double_activation,
    small_batch_norm,
    bottleneck,
)
