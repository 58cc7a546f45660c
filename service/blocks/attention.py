"""Attention: every place of a sequence looks at every other."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, WeightedLayer, need_rank
from service.blocks.noise import StochasticModule
from service.blocks.values import MAX_UNITS, Rate

MAX_SCORES = 1 << 28
"""Most scores of a row, those of all heads together: 1 GiB."""


class AttentionDropout(StochasticModule):
    """Drop attention weights when there is noise; the weights that stay are scaled up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, weights: Tensor) -> Tensor:
        """Return [batch, heads, length, length] with weights dropped."""
        if self.noise is None or not self.rate:
            return weights
        return self.noise.thinned(weights, self.key, self.rate)


class SelfAttention(nn.Module):
    """Scaled dot-product attention of a sequence to itself, over several heads.

    Shape: [batch, length, features] stays.
    """

    def __init__(self, shape: Shape, heads: int, head_size: int, *, rate: float, causal: bool, bias: bool) -> None:
        super().__init__()
        length, features = shape
        self.row_values = 5 * heads * length**2
        """Values that one row takes while this runs: scores, weights, bits, mask and their product."""
        self.heads, self.causal = heads, causal
        self.query, self.key, self.value = (nn.Linear(features, heads * head_size, bias=bias) for _ in range(3))
        self.output = nn.Linear(heads * head_size, features, bias=bias)
        self.dropout = AttentionDropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return what every place makes of the places it looks at."""
        query, key, value = (self._split(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        if self.causal:
            ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(ahead, -torch.inf)
        seen = self.dropout(torch.softmax(scores, dim=-1)) @ value
        out: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """Return [batch, heads, length, head_size]."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class MultiHeadAttention(WeightedLayer):
    """Self-attention: softmax(Q K^T / sqrt(d)) V for each head, side by side, through one more matrix.

    With `residual` and `layer_norm` (on the features) around it, and two dense layers behind, it is a block of a
    transformer.

    Shape: [length, features] stays.

    Reference: Vaswani et al. 2017, "Attention Is All You Need", eq. 1 and section 3.2.2.
    """

    type: Literal["multi_head_attention"] = "multi_head_attention"
    nonlinear = True
    heads: Annotated[int, Field(ge=1, le=1024)]
    """Ways of looking, each with matrices of its own."""
    head_size: Annotated[int, Field(ge=1, le=MAX_UNITS)] | None = None
    """Length of the queries, keys and values of a head; default: features / heads."""
    dropout: Rate = 0.0
    """Probability of dropping an attention weight, in training and in Monte-Carlo prediction."""
    causal: bool = False
    """Whether places look only at themselves and those before."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, 2, "(length, features)")
        if self.activation is not None and self.activation.type != "linear":
            raise ShapeError("no activation of its own: its softmax is inside")
        features = shape[1]
        if self.head_size is None and features % self.heads:
            raise ShapeError(f"features that {self.heads} heads divide, or a head_size")
        if self.heads * shape[0] ** 2 > MAX_SCORES:
            raise ShapeError(f"at most {MAX_SCORES:,} scores of places that look at places, heads * length * length")
        size = self.head_size or features // self.heads
        context.afford(4 * self.heads * size, features)
        return SelfAttention(shape, self.heads, size, rate=self.dropout, causal=self.causal, bias=self.use_bias)
