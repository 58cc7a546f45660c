"""Forward pass and loss as a program that torch compiles, where it can."""

import copy
import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from service.blocks.noise import Noise, StepNoise, set_noise
from service.network import Network
from worker.training.memory import ran_out

log = logging.getLogger(__name__)
Forward = Callable[..., tuple[Tensor, Tensor, Tensor]]
"""Of the tensors of a batch: the mean loss of its rows, that with penalties, the outputs."""
Draw = tuple[int, tuple[int, ...], float | None]
"""Key, shape and rate of what a layer asked its noise for; without a rate it asked for bits."""
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {"compile_threads": 1}
"""A worker's child may have no children of its own that compile beside it."""


class Prepared(Noise):
    """Noise whose values lie ready: a compiled program takes them as it takes rows, and draws nothing."""

    def __init__(self, noise: StepNoise) -> None:
        self._noise = noise
        self.values: dict[Draw, Tensor] = {}

    def prepare(self, draws: Sequence[Draw]) -> None:
        """Lay ready what these draws are in this step."""
        of, bits = self._noise.mask, self._noise.bits
        self.values = {draw: bits(*draw[:2]) if draw[2] is None else of(*draw[:2], draw[2]) for draw in draws}

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        return self.values[key, shape, None]

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        return self.values[key, shape, rate]


class _Asked(Noise):
    """Writes down what it is asked for."""

    def __init__(self, noise: StepNoise) -> None:
        self._noise = noise
        self.draws: list[Draw] = []

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        self.draws.append((key, shape, None))
        return self._noise.bits(key, shape)

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        self.draws.append((key, shape, rate))
        return self._noise.mask(key, shape, rate)


class Compiler:
    """Compiles the forward passes of one network, until one cannot be compiled: `failure` says why."""

    def __init__(self, network: Network, noise: StepNoise) -> None:
        torch.compiler.reset()  # a process may compile so many programs of one piece of source, over all of its jobs
        self.failure: str | None = None
        self._network, self._noise, self._prepared = network, noise, Prepared(noise)

    def compiled(self, forward: Callable[[Network, Sequence[Tensor]], tuple[Tensor, Tensor, Tensor]]) -> Forward:
        """Return a forward pass that is compiled at its first call for a shape; as it is written where that fails."""
        network, prepared, draws = self._network, self._prepared, dict[Hashable, list[Draw]]()

        def plain(*given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return forward(network, given)

        program = torch.compile(plain, dynamic=False, options=OPTIONS)

        def run(*given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            if self.failure is not None:
                return plain(*given)
            shapes = tuple(tensor.shape for tensor in given)
            try:
                if shapes not in draws:
                    draws[shapes] = self._draws(forward, given)
                prepared.prepare(draws[shapes])
                set_noise(network, prepared)
                return program(*given)
            except Exception as error:
                if ran_out(error):
                    raise
                # A compiler fails in more ways than can be listed. What is wrong with the step itself, the step says.
                self.failure = _first_line(error)
                log.warning("the step is not compiled: %s", self.failure)
                network.activity.take()
                set_noise(network, self._noise)
                return plain(*given)

        return run

    def _draws(
        self, forward: Callable[[Network, Sequence[Tensor]], tuple[Tensor, ...]], given: Sequence[Tensor]
    ) -> list[Draw]:
        """Return what the layers ask their noise for: of a copy, so that no statistics move."""
        asked, twin = _Asked(self._noise), copy.deepcopy(self._network)
        set_noise(twin, asked)
        with torch.no_grad():
            forward(twin, given)
        # The hooks of the copy put their penalties down where those of the network do.
        self._network.activity.take()
        return asked.draws


def _first_line(error: Exception) -> str:
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(said[:2])}"
