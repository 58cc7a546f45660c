"""Where a job runs. Called in children only: a parent that has touched CUDA cannot fork."""

import torch

from service.errors import TrainingFailed

PARALLEL_WORK = 32_000_000
"""Multiply-adds of a forward pass from which more than one thread is used."""


def choose_device(wanted: str) -> torch.device:
    """Return the device behind `training.device`.

    Raises:
        TrainingFailed: A GPU is called for and this worker has none.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if wanted == "cuda":
        raise TrainingFailed('training.device is "cuda" and this worker has no GPU; use "auto" or "cpu"')
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return the device in words, for receipts."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def use_threads(work: int, most: int) -> None:
    """Set how many processor threads this process computes with, for steps of so many multiply-adds.

    Threads that wait for each other at every small operation cost more than they bring, and where neighbours
    want the processor, too, many times more. The number depends on the job alone, because sums that are
    divided differently are rounded differently: the same job has to end with the same bits.
    """
    torch.set_num_threads(most if work >= PARALLEL_WORK else 1)
