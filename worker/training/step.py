"""One training step, behind a small interface, so that a faster engine can take its place."""

import torch
from torch import Tensor, nn

from service.blocks.noise import StepNoise, set_noise
from service.blocks.schedules import Horizon
from service.network import Network
from service.spec import JobSpec


class Step:
    """Forward, loss, penalties, backward, clipping, optimiser, constraints: a function of (state, batch, step)."""

    def __init__(self, network: Network, spec: JobSpec, device: torch.device, horizon: Horizon) -> None:
        self.network, self.horizon = network, horizon
        self.optimizer = spec.optimizer.build(list(network.parameters()))
        self._noise = StepNoise(spec.training.seed, 0, device)
        self._loss, self._schedule = spec.loss, spec.schedule
        self._base_rate = spec.optimizer.learning_rate
        self._clip = spec.regularization.clip_norm
        self._parameters = list(network.parameters())
        self._rate: float | None = None

    def learning_rate(self, step: int) -> float:
        """Return the rate of step `step`."""
        return self._base_rate * self._schedule.factor(step, self.horizon)

    def begin(self) -> None:
        """Get the network ready to train: statistics move, noise is on."""
        self.network.train()
        set_noise(self.network, self._noise)

    def end(self) -> None:
        """Get the network ready to predict: statistics are frozen, noise is off."""
        self.network.eval()
        set_noise(self.network, None)

    def __call__(self, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Take one step; return the mean loss of the batch without penalties, and the outputs, both detached.

        Shape: `x` [batch, *input], `y` [batch] or [batch, columns]; outputs [batch, outputs].
        """
        self._noise.step = step
        self._set_rate(self.learning_rate(step))
        output = self.network(x)
        loss = self._loss.per_row(output, y).mean()
        penalty = self.network.penalty()
        torch.autograd.backward(loss if penalty is None else loss + penalty)
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.network.constrain_()
        return loss.detach(), output.detach()

    def _set_rate(self, rate: float) -> None:
        if rate != self._rate:
            self._rate = rate
            for group in self.optimizer.param_groups:
                group["lr"] = rate
