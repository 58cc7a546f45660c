"""The slots of a worker: which device each of its children trains on."""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch

from service.devices import by_kind, devices_of, kind_of, read_slots
from service.settings import Settings


class NoSuchSlot(Exception):
    """The worker cannot have the slots that it was told to have; the message says why."""


def find_slots(settings: Settings) -> list[str]:
    """Return the device of each slot: those that the settings name, else all GPUs, else the CPU.

    Raises:
        NoSuchSlot: A GPU is named that this machine does not have, or twice in a slot, or slots are of several kinds.
    """
    named = read_slots(settings.devices)
    if named is None:
        found = [f"cuda:{number}" for number in range(count_gpus())] or ["cpu"]
        return [device for device in found for _ in range(settings.slots)]
    if len(by_kind(settings.devices)) > 1:
        raise NoSuchSlot(
            f"one worker process has slots of one kind, and TRAINYARD_DEVICES is {settings.devices}; "
            "`trainyard worker` starts one of each"
        )
    if kind_of(named[0]) != "cpu":
        _check_gpus(named, count_gpus())
    return named


def count_gpus() -> int:
    """Return how many GPUs there are.

    A process that has asked CUDA cannot fork children that use it: a child asks, and ends.
    """
    fork = multiprocessing.get_context("fork")
    answer, question = fork.Pipe(duplex=False)
    child = fork.Process(target=_count, args=[question])
    child.start()
    question.close()
    try:
        count: int = answer.recv()
    except EOFError:  # whatever ended it has said so in the log
        count = 0
    child.join()
    return count


def _count(question: Connection) -> None:
    question.send(torch.cuda.device_count())


def _check_gpus(named: Sequence[str], there: int) -> None:
    devices = [devices_of(slot) for slot in named]
    missing = [device for slot in devices for device in slot if int(device.partition(":")[2]) >= there]
    if missing:
        raise NoSuchSlot(f"TRAINYARD_DEVICES names {', '.join(missing)}, and this machine has {there} GPUs")
    for slot, names in zip(devices, named, strict=True):
        if len(set(slot)) < len(slot):
            raise NoSuchSlot(f"TRAINYARD_DEVICES has the slot {names}, and a job uses a GPU once")
