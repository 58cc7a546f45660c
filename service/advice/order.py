"""Normalisations, and the order of layers around them."""

from service.advice.rules import Finding, Findings, rule
from service.advice.site import Site
from service.advice.sources import IOFFE
from service.advice.view import View
from service.blocks.attention import MultiHeadAttention
from service.blocks.embedding import Embedding
from service.blocks.layers import WeightedLayer
from service.blocks.normalization import BatchNorm
from service.blocks.recurrent import Recurrent
from service.network.resolution import layer_regularizer

SMALL_BATCH = 8
SETTLED = 3
"""How many times over the moving statistics should have been replaced when training ends."""


@rule(f"{IOFFE}, section 3.2")
def bias_before_batch_norm(view: View) -> Findings:
    """Batch normalisation subtracts the mean of each channel, and any bias with it."""
    for site, after in view.pairs:
        biased = isinstance(site.layer, WeightedLayer) and site.layer.use_bias and site.own is None
        if biased and isinstance(after.layer, BatchNorm) and not isinstance(site.layer, Recurrent | MultiHeadAttention):
            reason = "The batch normalisation behind this layer subtracts the bias again, and adds one of its own."
            yield Finding(f"{site.path}.use_bias", reason, "Set use_bias to false.")


@rule(f"{IOFFE}, section 3")
def single_row_batch_norm(view: View) -> Findings:
    """Over a batch of one row a batch normalisation has no variance to divide by."""
    if view.spec.training.batch_size == 1 and view.has(BatchNorm):
        reason = "The one row of a batch is its own mean: what tells it from others is subtracted."
        mend = 'Use "layer_norm" or "group_norm", or batches of 32 rows; accumulate does not help here.'
        yield Finding("training.batch_size", reason, mend)


@rule('Wu and He 2018, "Group Normalization", section 1')
def small_batch_norm(view: View) -> Findings:
    """The mean and variance of a few rows say little of all."""
    batch = view.spec.training.batch_size
    if batch != "all" and 1 < batch < SMALL_BATCH and view.has(BatchNorm):
        reason = f"Batch normalisation estimates mean and variance from {batch} rows, which is mostly noise."
        yield Finding("training.batch_size", reason, f'Use at least {SMALL_BATCH} rows, or "group_norm".')


@rule(f"{IOFFE}, section 3.2")
def batch_norm_output(view: View) -> Findings:
    """Batch normalisation belongs before the activations of hidden layers, not on the outputs."""
    for end in view.ends:
        for site in end.behind:
            if isinstance(site.layer, BatchNorm):
                reason = "The outputs for a row would depend on the rows beside it, which the loss cannot mean."
                yield Finding(site.path, reason, "Leave it out, or put it before the last layer with weights.")


@rule('van Laarhoven 2017, "L2 Regularization versus Batch and Weight Normalization"')
def decay_before_batch_norm(view: View) -> Findings:
    """The size of weights before a batch normalisation changes nothing, so a penalty on it does not regularise."""
    for site, after in view.pairs:
        if not isinstance(site.layer, WeightedLayer) or not isinstance(after.layer, BatchNorm) or site.own is not None:
            continue
        penalty = layer_regularizer(site.layer, view.spec.network, view.spec.regularization)
        if penalty.l2:
            reason = "The normalisation undoes any scale of the kernel: the penalty only changes the learning rate."
            yield Finding(_penalty_path(view, site), reason, "Leave L2 out here; dropout or augmentation regularise.")


@rule('Ba, Kiros and Hinton 2016, "Layer Normalization", section 3.1')
def sequence_batch_norm(view: View) -> Findings:
    """Sequences are normalised row by row: statistics over a batch differ from place to place and length to length."""
    for site, _ in view.of(BatchNorm):
        source = _source(site)
        if source is not None and len(site.input_shape) == 2:
            reason = f"Behind {source.layer.type} it keeps statistics for each place of the sequence, not each feature."
            yield Finding(site.path, reason, 'Use {"type": "layer_norm", "axes": "last"}.')


@rule('Li et al. 2019, "Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift"')
def dropout_before_normalization(view: View) -> Findings:
    """Dropout changes the variance that a batch normalisation behind it learns."""
    for site, after in view.pairs:
        if site.layer.type in ("dropout", "spatial_dropout") and isinstance(after.layer, BatchNorm):
            reason = "The variance with dropout, in training, is not that without it, which predictions then meet."
            yield Finding(site.path, reason, "Put the dropout behind the normalisation and its activation.")


@rule(f"{IOFFE}, section 3.1")
def unsettled_statistics(view: View) -> Findings:
    """The moving statistics that predictions use need many steps to forget where they began."""
    steps = view.known.steps
    for site, layer in view.of(BatchNorm) if steps is not None else ():
        if steps is not None and steps * (1.0 - layer.momentum) < SETTLED:
            reason = (
                f"After {steps} steps the moving mean and variance still remember the zeros and ones they began with."
            )
            yield Finding(f"{site.path}.momentum", reason, "Use a smaller momentum, smaller batches or more epochs.")


def _penalty_path(view: View, site: Site) -> str:
    own = isinstance(site.layer, WeightedLayer) and site.layer.regularizer is not None
    if own or view.spec.network.regularizer is not None:
        return f"{site.said('regularizer')}.l2"
    return "regularization.l2"


def _source(site: Site) -> Site | None:
    """Return the layer that makes the sequence a normalisation sees, None where it sees none."""
    for other in site.before:
        if isinstance(other.layer, Recurrent):
            return other if other.layer.return_sequences else None
        if isinstance(other.layer, MultiHeadAttention | Embedding):
            return other
        if not other.layer.transparent:
            return None
    return None
