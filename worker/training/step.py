"""One training step, behind a small interface, so that a faster engine can take its place."""

import torch
from torch import Tensor, nn

from service.blocks.noise import StepNoise, set_noise
from service.blocks.optimizers import Group
from service.blocks.schedules import Horizon
from service.network import Network
from service.network.learning import Learning
from service.randomness import generator
from service.spec import JobSpec
from worker.data import Batch
from worker.training.augment import Augment, losses_of_rows


class Step:
    """Forward, loss, penalties, backward, clipping, optimiser, constraints: a function of (state, batch, step)."""

    def __init__(
        self, network: Network, spec: JobSpec, device: torch.device, horizon: Horizon, rows_of_batch: int
    ) -> None:
        self.network, self.horizon = network, horizon
        self.reduction = 1.0
        """Factor on the learning rate besides the schedule's: what a plateau has left of it."""
        groups = _groups(network)
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = spec.optimizer.build(groups)
        self._seed, self._device, self._rows_of_batch = spec.training.seed, device, rows_of_batch
        self._noise = StepNoise(self._seed, 0, device)
        self._augment = Augment(spec, device)
        self._loss, self._schedule = spec.loss, spec.schedule
        self._base_rate, self._searches = spec.optimizer.learning_rate, spec.optimizer.searches
        self._clip_norm, self._clip_value = spec.regularization.clip_norm, spec.regularization.clip_value
        self._rate: float | None = None

    def learning_rate(self, step: int) -> float:
        """Return the rate of step `step`."""
        return self._base_rate * self.reduction * self._schedule.factor(step, self.horizon)

    def enter(self, epoch: int) -> None:
        """Let learn what does so in epoch `epoch`, counted from 0."""
        self.network.learn(epoch + 1)

    def begin(self) -> None:
        """Get the network ready to train: statistics move, noise is on."""
        self.network.train()
        set_noise(self.network, self._noise)

    def end(self) -> None:
        """Get the network ready to predict: statistics are frozen, noise is off."""
        self.network.eval()
        set_noise(self.network, None)

    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Take one step; return the mean loss of its rows without penalties, and the outputs, both detached.

        Shape: outputs [rows, outputs].
        """
        batch = self._augment(batch, step)
        self._noise.step = step
        self._set_rate(self.learning_rate(step))
        loss, output = self._search(batch) if self._searches else self._descend(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self._shake(step)
        self.network.constrain_()
        return loss, output

    def _descend(self, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, _, output = self._gradient(batch)
        if self._clip_value is not None:
            nn.utils.clip_grad_value_(self._parameters, self._clip_value)
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self.optimizer.step()
        return loss, output

    def _search(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Let the optimiser look at the loss of the batch as often as it likes; every look has the same noise."""
        seen: list[tuple[Tensor, Tensor]] = []

        def look() -> Tensor:
            self.optimizer.zero_grad(set_to_none=True)
            loss, whole, output = self._gradient(batch)
            seen.append((loss, output))
            return whole

        self.optimizer.step(look)  # type: ignore[arg-type]
        return seen[0]

    def _gradient(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Leave the gradient of loss and penalties behind; return the loss, the loss with penalties, the outputs."""
        size, rows = self._rows_of_batch, len(batch.y)
        if rows <= size:
            self._noise.part = 0
            return self._part(batch, 1.0)
        parts = []
        for part, start in enumerate(range(0, rows, size)):
            self._noise.part, cut = part, batch[start : start + size]
            parts.append(self._part(cut, len(cut.y) / rows))
        losses, wholes, outputs = zip(*parts, strict=True)
        return torch.stack(losses).sum(), torch.stack(wholes).sum(), torch.cat(outputs)

    def _part(self, batch: Batch, share: float) -> tuple[Tensor, Tensor, Tensor]:
        output = self.network(batch.x)
        loss = losses_of_rows(self._loss, output, batch).mean()
        penalty = self.network.penalty()
        whole = loss if penalty is None else loss + penalty
        if share != 1.0:
            loss, whole = loss * share, whole * share
        torch.autograd.backward(whole)
        return loss.detach(), whole.detach(), output.detach()

    @torch.no_grad()
    def _shake(self, step: int) -> None:
        """Add the noise of the schedule to every weight."""
        std = self._schedule.noise(step, self.horizon, self._rate or 0.0)
        if std:
            source = generator(self._seed, "anneal", step, device=self._device)
            for parameter in self._parameters:
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=source, device=self._device), alpha=std)

    def _set_rate(self, rate: float) -> None:
        if rate != self._rate:
            self._rate = rate
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group.get("factor", 1.0)


def _groups(network: Network) -> list[Group]:
    """Return the parameters that learn in any epoch, together those that do so alike.

    Not even those of one factor that begin at different epochs are in one group: torch's fused SGD with momentum takes
    none of which some have a velocity and some have none yet.
    """
    groups: dict[Learning, Group] = {}
    for name, parameter in network.named_parameters():
        learning = network.learning[name]
        if learning.since is not None:
            groups.setdefault(learning, {"params": [], "factor": learning.factor})["params"].append(parameter)
    return list(groups.values())
