"""An optimizer's step along gradients that are given: its kernel alone where torch has one, else all of it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

Kernel = Callable[[Sequence[Tensor | None]], None]


class Update:
    """Moves weights as `optimizer.step()` does, to the bit.

    What torch does around a fused kernel takes longer than the kernel for small networks: gathering weights and state,
    grouping them by device, hooks. Here they are gathered once, after a first step of torch's own, and again when the
    optimizer was given another state. Rates are read from the groups at every step.
    """

    def __init__(self, optimizer: Optimizer, parameters: Sequence[Tensor]) -> None:
        self._optimizer, self._parameters = optimizer, parameters
        self._gathers = isinstance(optimizer, Adam | SGD) and bool(optimizer.defaults["fused"])
        self._kernels: list[Kernel] = []
        self._missing: list[bool] | None = None
        optimizer.register_load_state_dict_post_hook(self._forget)

    def __call__(self, gradients: Sequence[Tensor | None]) -> None:
        """Take one step; the gradients stand in the order of the parameters, None where a weight stays."""
        missing = [gradient is None for gradient in gradients]
        if missing == self._missing:
            for kernel in self._kernels:
                kernel(gradients)
            return
        self._separate()
        self.lend(gradients)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._gathers:
            self._gather(missing)

    def lend(self, gradients: Sequence[Tensor | None]) -> None:
        """Put the gradients where the optimizer looks for them."""
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    def _separate(self) -> None:
        """Give every weight a count of its steps of its own again, as the optimizer keeps them."""
        for entry in self._optimizer.state.values() if self._gathers else ():
            if isinstance(entry.get("step"), Tensor):
                entry["step"] = entry["step"].clone()

    def _forget(self, _: Optimizer) -> None:
        self._missing = None

    def _gather(self, missing: list[bool]) -> None:
        places = {id(p): place for place, p in enumerate(self._parameters) if not missing[place]}
        build = _sgd if isinstance(self._optimizer, SGD) else _adam
        self._kernels = []
        for group in self._optimizer.param_groups:
            weights = [p for p in group["params"] if id(p) in places]
            if weights:
                state = [self._optimizer.state.get(p, {}) for p in weights]
                self._kernels.append(build(group, weights, state, [places[id(p)] for p in weights]))
        self._missing = missing


def _adam(group: dict[str, Any], weights: list[Tensor], state: list[dict[str, Any]], places: list[int]) -> Kernel:
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    means, squares = ([s[name] for s in state] for name in ("exp_avg", "exp_avg_sq"))
    counts = _shared_counts(state)
    steps = [s["step"] for s in state]
    largest = [s["max_exp_avg_sq"] for s in state] if group["amsgrad"] else []
    beta_1, beta_2 = group["betas"]

    def move(gradients: Sequence[Tensor | None]) -> None:
        for count in counts:
            count.add_(1)
        kernel(
            weights, [gradients[place] for place in places], means, squares, largest, steps,  # type: ignore[misc]  # all are there
            lr=group["lr"], beta1=beta_1, beta2=beta_2, weight_decay=group["weight_decay"], eps=group["eps"],
            amsgrad=group["amsgrad"], maximize=False, grad_scale=None, found_inf=None,
        )  # fmt: skip

    return move


def _shared_counts(state: list[dict[str, Any]]) -> list[Tensor]:
    """Have weights share one count of their steps where it is the same; return the counts that there are then."""
    by_value: dict[float, Tensor] = {}
    for entry in state:
        entry["step"] = by_value.setdefault(entry["step"].item(), entry["step"])
    return list(by_value.values())


def _sgd(group: dict[str, Any], weights: list[Tensor], state: list[dict[str, Any]], places: list[int]) -> Kernel:
    velocities = [s["momentum_buffer"] for s in state] if group["momentum"] else []

    def move(gradients: Sequence[Tensor | None]) -> None:
        torch._fused_sgd_(
            weights, [gradients[place] for place in places], velocities,  # type: ignore[misc]  # all are there
            weight_decay=group["weight_decay"], momentum=group["momentum"], lr=group["lr"],
            dampening=group["dampening"], nesterov=group["nesterov"], maximize=False, is_first_step=False,
            grad_scale=None, found_inf=None,
        )  # fmt: skip

    return move
