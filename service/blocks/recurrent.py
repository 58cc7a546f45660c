"""Recurrent layers over sequences [length, features]."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, ShapeError, WeightedLayer, need_rank
from service.blocks.values import MAX_UNITS


class Recurrent(WeightedLayer):
    """Base of the recurrent layers: a state carried from place to place along a sequence."""

    module: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]
    gates: ClassVar[int]
    """Matrices a unit has for its inputs, and again for its state."""

    units: Annotated[int, Field(ge=1, le=MAX_UNITS)]
    """Size of the state, and of the output at each place; twice as many outputs when bidirectional."""
    bidirectional: bool = False
    """Go through the sequence from both ends, and put the two outputs side by side."""
    return_sequences: bool = False
    """Give the output at every place instead of the last one only."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, 2, "(length, features)")
        if self.activation is not None and self.activation.type != "tanh":
            raise ShapeError("no activation of its own: its gates are sigmoid and tanh")
        ways = 2 if self.bidirectional else 1
        context.afford(ways * self.gates * self.units, shape[1] + self.units)
        cell = self.module(shape[1], self.units, bias=self.use_bias, batch_first=True, bidirectional=self.bidirectional)
        return Sequence(cell, self.units, self.return_sequences)


class Sequence(nn.Module):
    """A recurrent module, and what is kept of its outputs."""

    def __init__(self, cell: nn.Module, units: int, whole: bool) -> None:
        super().__init__()
        self.cell, self.units, self.whole = cell, units, whole

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, length, outputs] or, where each way ends, [batch, outputs]."""
        outputs: Tensor = self.cell(x)[0]
        if self.whole:
            return outputs
        ends = [outputs[:, -1, : self.units]]
        if outputs.shape[2] > self.units:
            ends.append(outputs[:, 0, self.units :])
        return ends[0] if len(ends) == 1 else torch.cat(ends, dim=1)


class SimpleRnn(Recurrent):
    """Elman's network: h_t = tanh(W x_t + U h_(t-1) + b).

    Shape: [length, features] to [units], or [length, units] with `return_sequences`.

    Reference: Elman 1990, "Finding Structure in Time".
    """

    type: Literal["simple_rnn"] = "simple_rnn"
    module = nn.RNN
    gates = 1


class Lstm(Recurrent):
    """Long short-term memory: a cell with input, forget and output gates.

    Shape: [length, features] to [units], or [length, units] with `return_sequences`.

    Reference: Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000 for the forget gate.
    """

    type: Literal["lstm"] = "lstm"
    module = nn.LSTM
    gates = 4


class Gru(Recurrent):
    """Gated recurrent unit: reset and update gates, no separate cell.

    Shape: [length, features] to [units], or [length, units] with `return_sequences`.

    Reference: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3.
    """

    type: Literal["gru"] = "gru"
    module = nn.GRU
    gates = 3
