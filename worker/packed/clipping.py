"""Cutting down the gradients of several jobs, each by itself.

Shape letter: K jobs.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from service.spec import RegularizationSpec
from worker.training.recorded import Recorded, Results


def packed_clipping(regularization: RegularizationSpec, records: bool) -> Callable[[Sequence[Tensor]], None] | None:
    """Return what cuts stacked gradients [K, ...] down in place as `clipping` does for one; None where nothing does."""
    value, norm = regularization.clip_value, regularization.clip_norm
    if value is None and norm is None:
        return None

    def clip(*gradients: Tensor) -> Results:
        if value is not None:
            torch._foreach_clamp_min_(gradients, -value)
            torch._foreach_clamp_max_(gradients, value)
        if norm is not None:
            lengths = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
            shares = torch.clamp(norm / (lengths + 1e-6), max=1.0)
            for gradient in gradients:
                gradient.mul_(shares.view(-1, *[1] * (gradient.ndim - 1)))
        return ()

    recorded = Recorded(clip, [], ("packed clipping", value, norm), records=records)

    def run(gradients: Sequence[Tensor]) -> None:
        recorded(len(gradients), *gradients)

    return run
