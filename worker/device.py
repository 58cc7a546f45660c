"""Where a job runs. Called in children only: a parent that has touched CUDA cannot fork."""

import torch

from service.errors import TrainingFailed

PARALLEL_WORK = 32_000_000
"""Multiply-adds of a forward pass from which more than one thread is used."""


def choose_device(wanted: str, slot: str = "auto") -> torch.device:
    """Return the device of a slot, e.g. "cuda:1"; of "auto", which is no worker's, what `training.device` asks for.

    Raises:
        TrainingFailed: There is no such GPU.
    """
    if slot == "auto":
        slot = "cuda:0" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu"
    device = torch.device(slot)
    if device.type == "cuda" and torch.cuda.device_count() <= (device.index or 0):
        raise TrainingFailed(f'this worker has no GPU "{slot}"; use "auto" or "cpu" for training.device')
    return device


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
