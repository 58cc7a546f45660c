"""Sequences: recurrent layers, attention, embeddings."""

from service.advice.rules import Finding, Findings, rule
from service.advice.site import Site
from service.advice.sources import GUO, PASCANU, VASWANI
from service.advice.view import View
from service.blocks.attention import MultiHeadAttention
from service.blocks.composite import Residual
from service.blocks.convolution import Conv1d
from service.blocks.embedding import Embedding, PositionalEmbedding
from service.blocks.recurrent import Recurrent, SimpleRnn
from service.blocks.schedules import OneCycleSchedule

LONG = 30
"""Places over which a plain recurrent network learns no dependency."""


@rule('Bengio, Simard and Frasconi 1994, "Learning Long-Term Dependencies with Gradient Descent is Difficult"')
def simple_rnn_length(view: View) -> Findings:
    """A plain recurrent layer cannot learn what is many places ago: its gradient fades on the way back."""
    for site, _ in view.of(SimpleRnn):
        if _length(site) >= LONG:
            reason = f"Over {_length(site)} places the gradient fades or explodes before it reaches the first ones."
            yield Finding(f"{site.path}.type", reason, 'Use "lstm" or "gru".')


@rule(f"{PASCANU}, section 3.2")
def recurrent_clipping(view: View) -> Findings:
    """Gradients of recurrent networks explode now and then; clipped, such a step does no harm."""
    chosen = view.spec.regularization
    layers = [site for site, _ in view.of(Recurrent)]
    unclipped = chosen.clip_norm is None and chosen.clip_value is None and not view.spec.optimizer.searches
    if unclipped and (len(layers) > 1 or any(_length(site) >= LONG for site in layers)):
        reason = "Through many places and layers gradients explode now and then, and one such step undoes many."
        yield Finding("regularization.clip_norm", reason, "Set regularization.clip_norm to 1.")


@rule(f"{VASWANI}, section 3.5")
def attention_positions(view: View) -> Findings:
    """Attention does not see the order of a sequence unless places are marked."""
    layers = view.of(MultiHeadAttention)
    ordered = view.has(PositionalEmbedding, Recurrent, Conv1d)
    if layers and not ordered and not any(layer.causal for _, layer in layers):
        reason = "Shuffle the places of a row and attention gives the same: it does not know which comes first."
        yield Finding(layers[0][0].path, reason, 'Put a "positional_embedding" before it.')


@rule('Dong, Cordonnier and Loukas 2021, "Attention Is Not All You Need: Pure Attention Loses Rank"')
def attention_residual(view: View) -> Findings:
    """Attention upon attention makes all places alike, unless there is a way past."""
    layers = [site for site, _ in view.of(MultiHeadAttention)]
    bare = [site for site in layers if not any(isinstance(layer, Residual) for layer in site.around)]
    if len(layers) > 1 and bare:
        reason = "Every attention layer averages places; without a way past they soon are all the same."
        yield Finding(bare[0].path, reason, 'Put it into a "residual", with a "layer_norm" before it.')


@rule(f"{VASWANI}, section 3.1")
def attention_normalization(view: View) -> Findings:
    """The layers of a transformer stand between layer normalisations."""
    layers = view.of(MultiHeadAttention)
    if len(layers) > 1 and not view.normalized:
        reason = f"Over {len(layers)} attention layers sums grow, and softmax saturates on what has grown."
        yield Finding(layers[0][0].path, reason, 'Put {"type": "layer_norm", "axes": "last"} before each.')


@rule('Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture", section 3')
def attention_warmup(view: View) -> Findings:
    """Transformers start with a small rate that rises, unless a normalisation stands before each attention."""
    layers = [site for site, _ in view.of(MultiHeadAttention)]
    rises = view.spec.schedule.warmup_epochs > 0 or isinstance(view.spec.schedule, OneCycleSchedule)
    if any(not _normalized_before(site) for site in layers) and not rises:
        reason = "At the start gradients near the output are large, and full steps throw attention off for good."
        mend = 'Set schedule.warmup_epochs, or put a "layer_norm" before each attention.'
        yield Finding("schedule.warmup_epochs", reason, mend)


@rule(GUO)
def embedding_width(view: View) -> Findings:
    """Vectors as long as there are tokens can do no more than a code of zeros and ones."""
    for site, layer in view.of(Embedding):
        tokens = next((len(p) for p in site.record.module.parameters()), None) if site.record is not None else None
        if tokens is not None and layer.output_dim >= tokens:
            reason = f"{layer.output_dim} numbers for each of {tokens} tokens: a code of zeros and ones needs no more."
            yield Finding(f"{site.path}.output_dim", reason, f"Use fewer than {tokens}, e.g. {max(1, tokens // 2)}.")


def _length(site: Site) -> int:
    return site.input_shape[0] if site.input_shape else 0


def _normalized_before(site: Site) -> bool:
    return bool(site.before) and site.before[0].layer.normalizes
