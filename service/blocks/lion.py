"""Lion: the sign of a running mean of gradients."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from service.blocks.optimizers import Optimizer, Parameters, Share, decaying


class Lion(Optimizer):
    """Steps of one length for every weight: w = w - lr * sign(b1 * m + (1 - b1) * g); m = b2 * m + (1 - b2) * g.

    Its learning rate is three to ten times smaller than Adam's. Reference: Chen et al. 2023, "Symbolic Discovery of
    Optimization Algorithms", algorithm 2.
    """

    type: Literal["lion"] = "lion"
    learning_rate: Annotated[float, Field(gt=0, le=1e9)] = 0.0001
    """Step size before the schedule."""
    beta_1: Share = 0.9
    """Share of the running mean in the direction of a step."""
    beta_2: Share = 0.99
    """Share of the running mean kept from step to step."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Share of a kernel taken off, times the learning rate, at every step; biases and scales are exempt."""

    @property
    def state_tensors(self) -> int:
        return 1

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return SignOfMean(parameters, self.learning_rate, self.beta_1, self.beta_2, self.weight_decay)


class SignOfMean(torch.optim.Optimizer):
    """Lion over lists of tensors at once; torch has none."""

    def __init__(self, parameters: Parameters, lr: float, beta_1: float, beta_2: float, weight_decay: float) -> None:
        self._betas = beta_1, beta_2
        super().__init__(decaying(parameters, weight_decay), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # torch's may return a loss
        """Take one step along the gradients that are there."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                self._move(moved, group["lr"], group["weight_decay"])

    def _move(self, weights: list[Tensor], rate: float, decay: float) -> None:
        beta_1, beta_2 = self._betas
        gradients = [p.grad for p in weights if p.grad is not None]
        for p in weights:
            if not self.state[p]:
                self.state[p]["mean"] = torch.zeros_like(p)
        means = [self.state[p]["mean"] for p in weights]
        direction = torch._foreach_lerp(means, gradients, 1.0 - beta_1)
        torch._foreach_sign_(direction)
        if decay:
            torch._foreach_mul_(weights, 1.0 - rate * decay)
        torch._foreach_add_(weights, direction, alpha=-rate)
        torch._foreach_lerp_(means, gradients, 1.0 - beta_2)
