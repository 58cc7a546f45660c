"""In which numbers a step computes: float32, or half as many bits where that gains."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from service.memory import HALVES
from service.spec import TrainingSpec

Number = Literal["float32", "bfloat16", "float16"]
LARGE_STEP = 1_000_000_000
"""Multiply-adds of the forward pass of a batch from which "auto" computes in bfloat16 on a GPU: of smaller steps the
time goes into launching kernels, and casts are more of them."""


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a step on a device.

    In half precision the forward pass runs under torch's autocast: matrix products and convolutions take and give
    numbers of 16 bits. Weights, loss, penalties, gradients of weights and the optimizer's state are float32 always.
    """

    number: Number
    device: torch.device
    tf32: bool = False
    """Whether products of float32 numbers on a GPU may round them to 10 bits behind the point."""

    @classmethod
    def of(cls, training: TrainingSpec, device: torch.device, work: int = 0) -> "Precision":
        """Return what a job asks for; `work` are the multiply-adds of the forward pass of one batch.

        "auto" is a function of the job and the kind of device, never of a measured time: bfloat16 for steps of
        `LARGE_STEP` or more on a GPU that has units for it, float32 for all else. On a processor it is float32 even
        where that has such units: the same job gives the same bits on every one of them.
        """
        asked = training.precision
        if asked == "auto":
            asked = "bfloat16" if work >= LARGE_STEP and _has_bfloat16(device) else "float32"
        return cls(asked, device, training.tf32 and device.type == "cuda")

    @property
    def half(self) -> torch.dtype | None:
        """The type of 16 bits that the forward pass computes in; None where it is float32."""
        return HALVES.get(self.number)

    @property
    def channels_last(self) -> bool:
        """Whether convolutions run faster on images that have their channels last in memory.

        On a processor always: they take two thirds of the time so. On a GPU where its tensor cores compute.
        """
        return self.device.type == "cpu" or self.half is not None or self.tf32

    def forward(self) -> AbstractContextManager[object]:
        """Have what is computed inside the block be computed in this precision."""
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.half)

    def begin(self) -> None:
        """Have products of float32 numbers on a GPU be those of training from here on."""
        self._say("tf32" if self.tf32 else "ieee")

    def end(self) -> None:
        """Have them be exact again, as predictions are."""
        self._say("ieee")

    def _say(self, products: Literal["tf32", "ieee"]) -> None:
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.fp32_precision = products
            torch.backends.cudnn.conv.fp32_precision = products  # type: ignore[attr-defined]  # torch's stubs lack it
            torch.backends.cudnn.rnn.fp32_precision = products  # type: ignore[attr-defined]  # torch's stubs lack it


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
