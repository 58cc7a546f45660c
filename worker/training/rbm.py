"""A restricted Boltzmann machine, trained by contrastive divergence."""

from collections.abc import Callable

import torch
from torch import Tensor

from service.blocks.pretraining import Rbm
from service.randomness import generator, permutation

GAUSSIAN_FACTOR = 0.1
"""Share of the learning rate for Gaussian visible units, which have no bound (Hinton 2010, section 13.2)."""


class Machine:
    """Binary hidden units over binary or Gaussian visible ones; all numbers float32 on one device.

    `weight` [hidden, visible], `hidden_bias` [hidden], `visible_bias` [visible]. The energy of Bernoulli units is
    -b v - c h - h W v; visible Gaussian units have variance 1 and add |v - b|^2 / 2 instead of -b v.
    """

    def __init__(self, rule: Rbm, weight: Tensor, hidden_bias: Tensor | None, *, gaussian: bool) -> None:
        self._rule, self._gaussian, self._has_bias = rule, gaussian, hidden_bias is not None
        self.weight = weight.detach().clone()
        self.hidden_bias = weight.new_zeros(len(weight)) if hidden_bias is None else hidden_bias.detach().clone()
        self.visible_bias = weight.new_zeros(weight.shape[1])
        self._changes = [torch.zeros_like(part) for part in self._parts]

    @property
    def _parts(self) -> list[Tensor]:
        return [self.weight, self.hidden_bias, self.visible_bias]

    def hidden(self, visible: Tensor) -> Tensor:
        """Return the probabilities of the hidden units, [rows, hidden]."""
        return torch.sigmoid(torch.nn.functional.linear(visible, self.weight, self.hidden_bias))

    def visible(self, hidden: Tensor) -> Tensor:
        """Return the probabilities, or the means, of the visible units, [rows, visible]."""
        mean = hidden @ self.weight + self.visible_bias
        return mean if self._gaussian else torch.sigmoid(mean)

    def step(self, data: Tensor, source: torch.Generator) -> Tensor:
        """Take one step of contrastive divergence; return the mean squared error of the reconstruction."""
        first = self.hidden(data)
        hidden, visible = first, data
        for _ in range(self._rule.k):
            sampled = (torch.rand(hidden.shape, generator=source, device=data.device) < hidden).to(data.dtype)
            visible = self.visible(sampled)
            hidden = self.hidden(visible)
        rows, rate = len(data), self._rule.learning_rate * (GAUSSIAN_FACTOR if self._gaussian else 1.0)
        gradients = [
            (first.T @ data - hidden.T @ visible) / rows - self._rule.weight_decay * self.weight,
            (first - hidden).mean(0) * self._has_bias,
            (data - visible).mean(0),
        ]
        torch._foreach_mul_(self._changes, self._rule.momentum)
        torch._foreach_add_(self._changes, gradients, alpha=rate)
        torch._foreach_add_(self._parts, self._changes)
        return (data - visible).square().mean()

    def train(
        self, data: Tensor, rows_of_batch: int, seed: int, number: int, between: Callable[[], None]
    ) -> list[float]:
        """Train on rows [rows, visible] as machine `number` of a stack; return the error of every epoch.

        What is drawn is a function of (seed, number, step). `between` is called before every step.
        """
        errors, step = [], 0
        for epoch in range(self._rule.epochs):
            order = permutation(len(data), seed, "rbm_order", number, epoch).to(data.device)
            total = data.new_zeros(())
            for start in range(0, len(data), rows_of_batch):
                between()
                batch = data[order[start : start + rows_of_batch]]
                total += self.step(batch, generator(seed, "rbm", number, step, device=data.device)) * len(batch)
                step += 1
            errors.append(total.item() / len(data))
        return errors
