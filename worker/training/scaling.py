"""Scaling the loss, so that small gradients are not rounded to zero in float16."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from service.failures import NonFiniteLoss

START = 2.0**16
LEAST = 2.0**-16
GROWTH_STEPS = 2000
"""Steps without overflow after which a larger factor is tried."""


class LossScale:
    """The factor on the loss: halved when gradients overflow, doubled when they have not for long.

    It is a power of two, so that taking it out of the gradients again rounds nothing. What it is follows from the
    steps so far, and is part of a checkpoint.

    Reference: Micikevicius et al. 2018, "Mixed Precision Training", section 3.2.
    """

    def __init__(self, device: torch.device) -> None:
        self.factor = torch.tensor(START, device=device)
        self.skipped = 0
        """Steps that moved nothing because gradients overflowed."""
        self._good = 0

    def accepts(self, gradients: Sequence[Tensor | None]) -> bool:
        """Tell whether a step along these gradients can be taken, all being finite; learn from it. Waits for them.

        Raises:
            NonFiniteLoss: They are not finite however small the factor is.
        """
        found = [gradient for gradient in gradients if gradient is not None]
        largest = torch.stack(torch._foreach_norm(found, float("inf"))) if found else torch.zeros(1)
        if bool(largest.isfinite().all()):
            self._good += 1
            if self._good == GROWTH_STEPS:
                self.factor.mul_(2.0)
                self._good = 0
            return True
        self.skipped, self._good = self.skipped + 1, 0
        self.factor.mul_(0.5)
        if self.factor.item() < LEAST:
            raise NonFiniteLoss(
                "Gradients stay infinite or NaN in float16 however small the loss is made. Try training.precision "
                '"bfloat16" or "float32", a lower learning_rate, or standardized features.'
            )
        return False

    def state(self) -> dict[str, Any]:
        """Return where it is, as JSON values."""
        return {"factor": self.factor.item(), "good": self._good, "skipped": self.skipped}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.factor.fill_(state["factor"])
        self._good, self.skipped = state["good"], state["skipped"]
