"""Sequences: recurrent layers, attention, embeddings."""

from service.advice.rules import Finding, Findings, rule
from service.advice.site import Site
from service.advice.sources import GUO, PASCANU, VASWANI
from service.advice.view import View
from service.blocks.attention import MultiHeadAttention
from service.blocks.composite import Residual
from service.blocks.convolution import Conv1d
from service.blocks.embedding import Embedding, PositionalEmbedding
from service.blocks.initializers import Zeros
from service.blocks.recurrent import Gru, Lstm, Recurrent, SimpleRnn
from service.blocks.schedules import OneCycleSchedule
from service.network.resolution import bias_initializer

LONG = 30
"""Places over which a plain recurrent network learns no dependency."""


@rule('Bengio, Simard and Frasconi 1994, "Learning Long-Term Dependencies with Gradient Descent is Difficult"')
def simple_rnn_length(view: View) -> Findings:
    """A plain recurrent layer cannot learn what is many places ago: its gradient fades on the way back."""
    for site, _ in view.of(SimpleRnn):
        if site.length >= LONG:
            reason = f"Over {site.length} places the gradient fades or explodes before it reaches the first ones."
            yield Finding(f"{site.path}.type", reason, 'Use "lstm" or "gru".')


@rule('Jozefowicz, Zaremba and Sutskever 2015, "An Empirical Exploration of Recurrent Network Architectures"')
def forget_bias(view: View) -> Findings:
    """An LSTM remembers over long sequences from the start when the bias of its forget gate begins at one."""
    for site, layer in view.of(Lstm):
        if not layer.unit_forget_bias and layer.use_bias and site.length >= LONG and not _given_biases(view, layer):
            reason = f"The forget gate starts half closed: of {site.length} places the first are forgotten at once."
            yield Finding(f"{site.path}.unit_forget_bias", reason, "Set unit_forget_bias to true.")


@rule('Henaff, Szlam and LeCun 2016, "Recurrent Orthogonal Networks and Long-Memory Tasks"')
def recurrent_start(view: View) -> Findings:
    """An orthogonal kernel for the state neither shrinks nor blows up what is carried along a sequence."""
    for site, layer in view.of(SimpleRnn, Gru):
        if layer.recurrent_initializer is None and site.length >= LONG:
            reason = f"Over {site.length} places a kernel that is not orthogonal makes the state fade or explode."
            yield Finding(f"{site.path}.recurrent_initializer", reason, 'Use "orthogonal".')


@rule(f"{PASCANU}, section 3.2")
def recurrent_clipping(view: View) -> Findings:
    """Gradients of recurrent networks explode now and then; clipped, such a step does no harm."""
    chosen = view.spec.regularization
    layers = [site for site, _ in view.of(Recurrent)]
    unclipped = chosen.clip_norm is None and chosen.clip_value is None and not view.spec.optimizer.searches
    if unclipped and (len(layers) > 1 or any(site.length >= LONG for site in layers)):
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


def _given_biases(view: View, layer: Lstm) -> bool:
    """Tell whether somebody has said how the biases start."""
    return not isinstance(bias_initializer(layer, view.spec.network), Zeros)


def _normalized_before(site: Site) -> bool:
    return bool(site.before) and site.before[0].layer.normalizes
