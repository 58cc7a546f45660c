"""Cutting a gradient down before the optimizer sees it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from service.spec import RegularizationSpec
from worker.training.recorded import Recorded, Results


def clipping(regularization: RegularizationSpec, records: bool) -> Callable[[Sequence[Tensor]], None] | None:
    """Return what cuts gradients down in place: each number first, then the norm of all; None where nothing does.

    Reference: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training Recurrent Neural Networks", section 3.2,
    for the norm.
    """
    value, norm = regularization.clip_value, regularization.clip_norm
    if value is None and norm is None:
        return None

    def clip(*gradients: Tensor) -> Results:
        if value is not None:
            torch._foreach_clamp_min_(gradients, -value)
            torch._foreach_clamp_max_(gradients, value)
        if norm is not None:
            length = nn.utils.get_total_norm(gradients)
            torch._foreach_mul_(gradients, torch.clamp(norm / (length + 1e-6), max=1.0))
        return ()

    recorded = Recorded(clip, [], ("clipping", value, norm), records=records)

    def run(gradients: Sequence[Tensor]) -> None:
        recorded(len(gradients), *gradients)

    return run
