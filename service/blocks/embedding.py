"""Embeddings: a learned vector for every token, and for every place."""

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, TableLayer, need_rank
from service.blocks.values import AUTO, Says


class TokenEmbedding(nn.Module):
    """Look up the rows of a table; ids come as whole numbers in float32.

    Shape: [batch, length] to [batch, length, outputs].
    """

    def __init__(self, tokens: int, outputs: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(tokens, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the vector of every id."""
        return nn.functional.embedding(x.long(), self.table)


class Embedding(TableLayer):
    """A learned vector for each token id, 0 to input_dim - 1.

    Ids are whole numbers; others, and those outside, are refused before they are looked up.

    Shape: [length] to [length, output_dim].

    Reference: Bengio et al. 2003, "A Neural Probabilistic Language Model", section 2.
    """

    type: Literal["embedding"] = "embedding"
    input_dim: Annotated[
        Annotated[int, Field(ge=1, le=16_777_216)] | Literal["auto"],
        Says('a whole number from 1 to 16777216, or "auto" where the data say how many tokens there are'),
    ] = "auto"
    """How many tokens there are; "auto": as many as the step that makes the tokens gives."""
    output_dim: Annotated[int, Field(ge=1, le=1_000_000)]
    """Length of the vectors."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, 1, "(length) of token ids")
        if not context.first:
            raise ShapeError("the first place in the network, where token ids arrive")
        tokens = context.vocabulary if self.input_dim == AUTO else self.input_dim
        if tokens is None:
            raise ShapeError("a number for input_dim: the data do not say how many tokens there are")
        context.afford(int(tokens), self.output_dim)
        return TokenEmbedding(int(tokens), self.output_dim)


class LearnedPlaces(nn.Module):
    """Add a learned vector for each place. Shape: [batch, length, features] stays."""

    def __init__(self, length: int, features: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(length, features))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with the vectors added."""
        return x + self.table


class WavePlaces(nn.Module):
    """Add sines and cosines of each place. Shape: [batch, length, features] stays."""

    def __init__(self, length: int, features: int) -> None:
        super().__init__()
        self.length, self.features = length, features

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with the waves added."""
        # Worked out anew: a table would have to be stored with the weights, and costs more to read than this to make.
        place = torch.arange(self.length, dtype=torch.float32, device=x.device).unsqueeze(1)
        pairs = torch.arange(0, self.features, 2, dtype=torch.float32, device=x.device)
        angle = place * torch.exp(pairs * (-math.log(10_000.0) / self.features))
        waves = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, : self.features]
        return x + waves.to(x.dtype)


class PositionalEmbedding(TableLayer):
    """Add to every place of a sequence a vector that tells which place it is.

    "sinusoidal": sin(place / 10000^(2i / features)) at 2i and the cosine at 2i + 1; "learned": weights.

    Shape: [length, features] stays.

    Reference: Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """

    type: Literal["positional_embedding"] = "positional_embedding"
    kind: Literal["learned", "sinusoidal"] = "learned"
    """Whether the vectors are learned, or waves."""

    @model_validator(mode="after")
    def _rules_are_for_what_is_learned(self) -> Self:
        if self.kind == "sinusoidal" and (self.initializer or self.regularizer or self.constraint):
            raise ValueError('initializer, regularizer and constraint are for kind "learned": waves have no weights')
        return self

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, 2, "(length, features)")
        if self.kind == "sinusoidal":
            return WavePlaces(*shape)
        context.afford(*shape)
        return LearnedPlaces(*shape)
