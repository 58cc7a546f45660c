"""Recurrent layers over sequences [length, features]."""

from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.initializers import AnyInitializer, Ones
from service.blocks.layers import BuildContext, ShapeError, Starts, WeightedLayer, need_rank
from service.blocks.recurrence import Cell, Sequence
from service.blocks.values import MAX_UNITS, Rate


class Recurrent(WeightedLayer):
    """Base of the recurrent layers: a state carried from place to place along a sequence."""

    nonlinear: ClassVar[bool] = True
    module: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]
    gates: ClassVar[int]
    """Matrices a unit has for its inputs, and again for its state."""

    units: Annotated[int, Field(ge=1, le=MAX_UNITS)]
    """Size of the state, and of the output at each place; twice as many outputs when bidirectional."""
    bidirectional: bool = False
    """Go through the sequence from both ends, and put the two outputs side by side."""
    return_sequences: bool = False
    """Give the output at every place instead of the last one only."""
    recurrent_initializer: AnyInitializer | None = None
    """How each gate's kernel for the state starts, "orthogonal" for long memory; default: as the other kernel."""
    dropout: Rate = 0.0
    """Probability of dropping an input feature, the same ones at every place of a sequence."""
    recurrent_dropout: Rate = 0.0
    """Probability of dropping a number of the state, the same ones at every place (Gal and Ghahramani 2016)."""

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        need_rank(shape, 2, "(length, features)")
        if self.activation is not None and self.activation.type != "tanh":
            raise ShapeError("no activation of its own: its gates are sigmoid and tanh")
        ways = 2 if self.bidirectional else 1
        context.afford(ways * self.gates * self.units, shape[1] + self.units)
        cell = self.module(shape[1], self.units, bias=self.use_bias, batch_first=True, bidirectional=self.bidirectional)
        return Sequence(cell, self.step, self.units, self.return_sequences, self.dropout, self.recurrent_dropout)

    def starts(self, name: str, owner: nn.Module) -> Starts:
        """Return how the gates start: each by itself where its kernel for the state has an initializer of its own."""
        recurrent = self.recurrent_initializer is not None and name.startswith("weight_hh")
        return (self.recurrent_initializer,) * self.gates if recurrent else (None,)

    @staticmethod
    def step(inputs: Tensor, recurrent: Tensor, state: Cell) -> Cell:
        """Return the next state from what the inputs and the state add to the gates, [batch, gates * units] each."""
        raise NotImplementedError


class SimpleRnn(Recurrent):
    """Elman's network: h_t = tanh(W x_t + U h_(t-1) + b).

    Shape: [length, features] to [units], or [length, units] with `return_sequences`.

    Reference: Elman 1990, "Finding Structure in Time".
    """

    type: Literal["simple_rnn"] = "simple_rnn"
    module = nn.RNN
    gates = 1

    @staticmethod
    def step(inputs: Tensor, recurrent: Tensor, state: Cell) -> Cell:
        return Cell(torch.tanh(inputs + recurrent), state.memory)


class Lstm(Recurrent):
    """Long short-term memory: a cell with input, forget and output gates.

    Shape: [length, features] to [units], or [length, units] with `return_sequences`.

    Reference: Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000 for the forget gate.
    """

    type: Literal["lstm"] = "lstm"
    module = nn.LSTM
    gates = 4
    unit_forget_bias: bool = False
    """Whether the forget gate's bias starts at one, so that the cell remembers at first (Jozefowicz et al. 2015)."""

    @model_validator(mode="after")
    def _a_bias_to_start(self) -> Self:
        if self.unit_forget_bias and not self.use_bias:
            raise ValueError("unit_forget_bias needs a bias: use_bias must be true")
        return self

    def starts(self, name: str, owner: nn.Module) -> Starts:
        """Return how the input, forget, cell and output gates start."""
        # torch adds up two biases of each gate: one of them starts at one.
        if self.unit_forget_bias and name.startswith("bias_ih"):
            return None, Ones(), None, None
        return super().starts(name, owner)

    @staticmethod
    def step(inputs: Tensor, recurrent: Tensor, state: Cell) -> Cell:
        enter, forget, fresh, leave = (inputs + recurrent).chunk(4, dim=1)
        memory = torch.sigmoid(forget) * state.memory + torch.sigmoid(enter) * torch.tanh(fresh)
        return Cell(torch.sigmoid(leave) * torch.tanh(memory), memory)


class Gru(Recurrent):
    """Gated recurrent unit: reset and update gates, no separate cell.

    Shape: [length, features] to [units], or [length, units] with `return_sequences`.

    Reference: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3.
    """

    type: Literal["gru"] = "gru"
    module = nn.GRU
    gates = 3

    @staticmethod
    def step(inputs: Tensor, recurrent: Tensor, state: Cell) -> Cell:
        reset_x, update_x, fresh_x = inputs.chunk(3, dim=1)
        reset_h, update_h, fresh_h = recurrent.chunk(3, dim=1)
        update = torch.sigmoid(update_x + update_h)
        fresh = torch.tanh(fresh_x + torch.sigmoid(reset_x + reset_h) * fresh_h)
        return Cell((1.0 - update) * fresh + update * state.output, state.memory)
