"""Cutting gradients down before the optimizer sees them.

Shape letter: K networks.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from service.spec import RegularizationSpec
from worker.training.recorded import Recorded, Results


def clipping(
    regularization: RegularizationSpec, records: bool, stacked: bool = False
) -> Callable[[Sequence[Tensor]], None] | None:
    """Return what cuts gradients down in place: each number first, then the norm of all; None where nothing does.

    Of gradients [K, ...] that are `stacked` each network has a norm of its own.

    Reference: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training Recurrent Neural Networks", section 3.2,
    for the norm.
    """
    value, norm = regularization.clip_value, regularization.clip_norm
    if value is None and norm is None:
        return None
    scale = _scale_each if stacked else _scale

    def clip(*gradients: Tensor) -> Results:
        if value is not None:
            torch._foreach_clamp_min_(gradients, -value)
            torch._foreach_clamp_max_(gradients, value)
        if norm is not None:
            scale(gradients, norm)
        return ()

    recorded = Recorded(clip, [], ("clipping", stacked, value, norm), records=records)

    def run(gradients: Sequence[Tensor]) -> None:
        recorded(len(gradients), *gradients)

    return run


def _scale(gradients: tuple[Tensor, ...], norm: float) -> None:
    length = nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(gradients, torch.clamp(norm / (length + 1e-6), max=1.0))


def _scale_each(gradients: tuple[Tensor, ...], norm: float) -> None:
    lengths = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    shares = torch.clamp(norm / (lengths + 1e-6), max=1.0)
    for gradient in gradients:
        gradient.mul_(shares.view(-1, *[1] * (gradient.ndim - 1)))
