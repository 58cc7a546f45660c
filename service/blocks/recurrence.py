"""How a recurrent layer runs: torch's own loop, or one of ours where the state is dropped out."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional

from service.blocks.noise import StochasticModule


class Cell(NamedTuple):
    """The state of a recurrent layer, [batch, units] each; `memory` only means something to an LSTM."""

    output: Tensor
    memory: Tensor


Step = Callable[[Tensor, Tensor, Cell], Cell]


class Mask(StochasticModule):
    """A mask that is the same at every place of a sequence.

    Reference: Gal and Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural
    Networks", eq. 7.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def of(self, like: Tensor, features: int) -> Tensor | None:
        """Return [batch, features] for the batch of `like`, or None when nothing is dropped."""
        if self.noise is None or not self.rate:
            return None
        return self.noise.mask(self.key, (like.shape[0], features), self.rate).to(like.dtype)


class Sequence(nn.Module):
    """A recurrent module, its dropout, and what is kept of its outputs."""

    def __init__(
        self, cell: nn.RNN | nn.LSTM | nn.GRU, step: Step, units: int, whole: bool, rate: float, recurrent_rate: float
    ) -> None:
        super().__init__()
        self.cell, self.units, self.whole = cell, units, whole
        self._step = step
        self.input_mask = Mask(rate) if rate else None
        self.state_masks = nn.ModuleList(
            Mask(recurrent_rate) for _ in range((1 + cell.bidirectional) * (recurrent_rate > 0))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, length, outputs] or, where each way ends, [batch, outputs]."""
        mask = self.input_mask.of(x, x.shape[2]) if self.input_mask is not None else None
        x = x if mask is None else x * mask.unsqueeze(1)
        masks = [state.of(x, self.units) for state in self.state_masks]  # type: ignore[operator]  # a ModuleList does not say of what
        # Compilers and exporters give fake tensors, too, and want the true operations.
        if x.is_meta or (isinstance(x, FakeTensor) and not torch.compiler.is_compiling()):
            outputs = torch.cat([self._probe(x, way) for way in range(1 + self.cell.bidirectional)], dim=2)
        elif masks and masks[0] is not None:
            ways = [self._run(x, way, mask) for way, mask in enumerate(masks)]
            outputs = ways[0] if len(ways) == 1 else torch.cat(ways, dim=2)
        else:
            outputs = self._torch(x)
        if self.whole:
            return outputs
        ends = [outputs[:, -1, : self.units]]
        if outputs.shape[2] > self.units:
            ends.append(outputs[:, 0, self.units :])
        return ends[0] if len(ends) == 1 else torch.cat(ends, dim=1)

    def _torch(self, x: Tensor) -> Tensor:
        """Return the outputs of torch's own loop, which on a processor there is none of in float16."""
        if not (x.is_cpu and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.float16):
            outputs: Tensor = self.cell(x)[0]
            return outputs
        with torch.autocast("cpu", enabled=False):
            outputs = self.cell(x.float())[0]
            return outputs

    def _weights(self, way: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield kernel and bias of the inputs of one way, then those of the state."""
        end = f"l0{'_reverse' if way else ''}"
        for part in ("ih", "hh"):
            yield getattr(self.cell, f"weight_{part}_{end}"), getattr(self.cell, f"bias_{part}_{end}", None)

    def _probe(self, x: Tensor, way: int) -> Tensor:
        """Return the outputs of one way where nothing is computed, every place at once as a row of one step.

        Shapes, products and bytes are those of one place after the other, which takes seconds for long sequences.
        """
        of_inputs, of_state = self._weights(way)
        inputs = functional.linear(x, *of_inputs).flatten(0, 1)
        zeros = x.new_zeros(len(inputs), self.units)
        state = self._step(inputs, functional.linear(zeros, *of_state), Cell(zeros, zeros))
        return state.output.view(*x.shape[:2], self.units)

    def _run(self, x: Tensor, way: int, mask: Tensor) -> Tensor:
        """Return the outputs at every place of one way, [batch, length, units], with the state dropped by the mask."""
        of_inputs, of_state = self._weights(way)
        inputs = functional.linear(x, *of_inputs)
        zeros = x.new_zeros(x.shape[0], self.units)
        state, outputs = Cell(zeros, zeros), []
        places = range(x.shape[1])
        for place in reversed(places) if way else places:
            recurrent = functional.linear(state.output * mask, *of_state)
            state = self._step(inputs[:, place], recurrent, state)
            outputs.append(state.output)
        return torch.stack(outputs[::-1] if way else outputs, dim=1)
