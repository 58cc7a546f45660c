"""Where a job runs. Called in children only: a parent that has touched CUDA cannot fork."""

import torch

from service.devices import devices_of
from service.failures import TrainingFailed

PARALLEL_WORK = 32_000_000
"""Multiply-adds of a forward pass from which more than one thread is used."""


def choose_devices(wanted: str, slot: str = "auto", number: int = 1) -> list[torch.device]:
    """Return so many devices of a slot, e.g. "cuda:0+cuda:1"; of "cpu" one and the same, as often as it takes.

    Of "auto", which is no worker's, those that `training.device` asks for.

    Raises:
        TrainingFailed: There are not so many.
    """
    if slot == "auto":
        gpus = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
        slot = "+".join(f"cuda:{index}" for index in range(number)) if gpus else "cpu"
    names = ["cpu"] * number if slot == "cpu" else devices_of(slot)
    if len(names) < number:
        raise TrainingFailed(f'the slot "{slot}" of this worker has fewer than {number} GPUs')
    return [_checked(torch.device(name)) for name in names[:number]]


def _checked(device: torch.device) -> torch.device:
    if device.type == "cuda" and torch.cuda.device_count() <= (device.index or 0):
        raise TrainingFailed(f'this worker has no GPU "{device}"; use "auto" or "cpu" for training.device')
    return device


def device_name(device: torch.device, number: int = 1) -> str:
    """Return the device in words, for receipts; of several like it, how many."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return name if number == 1 else f"{number} x {name}"


def use_threads(work: int, most: int) -> None:
    """Set how many processor threads this process computes with, for steps of so many multiply-adds.

    Threads that wait for each other at every small operation cost more than they bring, and where neighbours
    want the processor, too, many times more. The number depends on the job alone, because sums that are
    divided differently are rounded differently: the same job has to end with the same bits.
    """
    torch.set_num_threads(most if work >= PARALLEL_WORK else 1)
