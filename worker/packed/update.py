"""An optimizer's step of several jobs at once, each with its own learning rate.

Shape letter: K jobs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from service.blocks.optimizers import Group, Optimizer
from worker.training.update import Update


class PackedUpdate:
    """Moves stacked weights [K, ...] as the optimizer of each job would move its own.

    What optimizers do is done number by number, so stacked weights are weights like any others, and where all jobs
    have one rate torch's kernels take them as they are. Where rates differ the optimizer moves tensors that stand at
    zero, at the rate 1: what comes of it times its rate is how far each job goes. Every rule of the language that does
    not search is linear in its rate, but for the decay of weights, which is done here.
    """

    def __init__(self, rule: Optimizer, groups: Sequence[Group], alike: bool) -> None:
        self._alike = alike
        self._weights: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
        self._moved: list[Tensor] = (
            self._weights if alike else [nn.Parameter(torch.zeros_like(weight)) for weight in self._weights]
        )
        # Built for weights of the rank that they have alone: optimizers spare biases, which they know by it.
        alone = [nn.Parameter(weight.new_empty([0] * (weight.ndim - 1))) for weight in self._weights]
        places = iter(alone)
        self.optimizer = rule.build([{**group, "params": [next(places) for _ in group["params"]]} for group in groups])
        stacked = {id(own): moved for own, moved in zip(alone, self._moved, strict=True)}
        for group in self.optimizer.param_groups:
            group["params"] = [stacked[id(own)] for own in group["params"]]
        self._update = Update(self.optimizer, self._moved)
        decays = {id(p): float(g.get("weight_decay", 0.0)) for g in self.optimizer.param_groups for p in g["params"]}
        factors = {id(p): float(g.get("factor", 1.0)) for g in self.optimizer.param_groups for p in g["params"]}
        self._decays = [decays[id(moved)] for moved in self._moved]
        self._factors = [factors[id(moved)] for moved in self._moved]
        self._rate: float | None = None

    def __call__(self, gradients: Sequence[Tensor | None], rates: Sequence[float]) -> None:
        """Take one step along gradients [K, ...], None where a weight stays, at the rate of each job."""
        if self._alike:
            self._set_rate(rates[0])
            self._update(gradients)
            return
        self._set_rate(1.0)
        torch._foreach_zero_(self._moved)
        # A weight that stays has no gradient.
        self._update(gradients)
        by_job = torch.tensor(rates, dtype=torch.float32, device=self._weights[0].device)
        for weight, moved, gradient, decay, factor in zip(
            self._weights, self._moved, gradients, self._decays, self._factors, strict=True
        ):
            if gradient is None:
                continue
            own = (by_job * factor).view(-1, *[1] * (weight.ndim - 1))
            if decay:
                weight.mul_(1.0 - own * decay)
            weight.addcmul_(moved, own)

    def _set_rate(self, rate: float) -> None:
        if rate == self._rate:
            return
        self._rate = rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0) if self._alike else 1.0
