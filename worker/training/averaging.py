"""The running average of a network's weights, kept beside them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from service.blocks.averaging import Averaging
from service.blocks.schedules import Horizon


class WeightAverage:
    """Weights and statistics that `averaging` has taken in so far; without any, the network stays as it is."""

    def __init__(self, averaging: Averaging, network: nn.Module, horizon: Horizon) -> None:
        self._averaging, self._network, self._horizon = averaging, network, horizon
        self.count = 0
        self._averages: dict[str, Tensor] = {}

    @torch.no_grad()
    def after_step(self, steps: int) -> None:
        """Take the weights in, if their turn has come after so many steps."""
        if not self._averaging.takes(steps, self._horizon):
            return
        self.count += 1
        now = self._floats()
        if self.count == 1:
            self._averages = {name: value.detach().clone() for name, value in now.items()}
            return
        share = self._averaging.share(self.count)
        torch._foreach_lerp_(list(self._averages.values()), list(now.values()), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the network compute with the averages inside the block."""
        with torch.no_grad():
            own = {name: value.detach().clone() for name, value in self._floats().items()} if self.count else {}
            self._put(self._averages)
            try:
                yield
            finally:
                self._put(own)

    def settle(self) -> None:
        """Put the averages into the network for good."""
        with torch.no_grad():
            self._put(self._averages)

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages by the names of the weights."""
        return self._averages

    def restore(self, count: int, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `count` and `tensors` were."""
        self.count = count
        # In the order of the network: the averages move together with its weights.
        now = {name: value for name, value in self._floats().items() if name in tensors}
        self._averages = {name: tensors[name].to(value.device) for name, value in now.items()}

    def _put(self, values: Mapping[str, Tensor]) -> None:
        now = self._floats()
        for name, value in values.items():
            now[name].copy_(value)

    def _floats(self) -> dict[str, Tensor]:
        return {name: value for name, value in self._network.state_dict().items() if value.is_floating_point()}
