"""The kinds of device that jobs ask for and that workers have slots on."""

from functools import cache
from itertools import groupby

MOST_DEVICES = 16
"""Devices that one job may train on."""
DEVICES = ("auto", "cpu", "cuda")
"""What a job asks for with `training.device`; "auto" takes a slot of any kind."""
SEVERAL = range(2, MOST_DEVICES + 1)
KINDS = ("cpu", "cuda", *(f"{number}xcuda" for number in SEVERAL))
"""What a slot computes on; "4xcuda" is a slot of four GPUs. A CPU takes several processes as well as one."""
_SLOT = r"(cpu|cuda(:[0-9]{1,3}(\+cuda:[0-9]{1,3}){0,15})?)"
SLOTS_PATTERN = rf"^(auto|{_SLOT}( *, *{_SLOT}){{0,255}})$"
"""How slots are written down: "auto", or a list like "cpu,cpu,cuda:0,cuda:1+cuda:2"."""


def asked(device: str, devices: int = 1) -> str:
    """Return what a job asks for in a word: "cuda", or "4xcuda" for four of them."""
    return device if devices == 1 else f"{devices}x{device}"


def read_asked(text: str) -> tuple[str, int]:
    """Return the device and the number of devices that a job asks for."""
    number, _, device = text.rpartition("x")
    return device, int(number or 1)


def devices_of(slot: str) -> list[str]:
    """Return the devices of a slot: ["cuda:0", "cuda:1"] of "cuda:0+cuda:1"."""
    return slot.split("+")


def kind_of(slot: str) -> str:
    """Return the kind of a slot: "cuda" for "cuda:1", "2xcuda" for "cuda:0+cuda:1"."""
    devices = devices_of(slot)
    return asked(devices[0].partition(":")[0], len(devices))


@cache
def suiting(kind: str | None) -> tuple[str, ...]:
    """Return what jobs may ask for that a slot of this kind takes; all there is for None."""
    types = DEVICES if kind is None else ("auto", read_asked(kind)[0])
    most = read_asked(kind)[1] if kind is not None and kind != "cpu" else MOST_DEVICES
    return tuple(asked(device, devices) for devices in range(1, most + 1) for device in types)


@cache
def usable(device: str) -> tuple[str, ...]:
    """Return the kinds of slot that a job takes which asks for this, the smallest of each first."""
    return tuple(kind for kind in KINDS if device in suiting(kind))


def read_slots(text: str) -> list[str] | None:
    """Return the slots that a text names, None where it is "auto" and they have to be found."""
    if text == "auto":
        return None
    return ["cuda:0" if slot.strip() == "cuda" else slot.strip() for slot in text.split(",")]


def by_kind(text: str) -> dict[str, str]:
    """Split a text of slots into one text a kind: a worker process has slots of one kind only.

    Its messages are handed to any slot that is free, so that one of the wrong kind would use up the others' hints.
    """
    slots = read_slots(text)
    if slots is None:
        return {"auto": text}
    return {kind: ",".join(group) for kind, group in groupby(sorted(slots, key=kind_of), key=kind_of)}
