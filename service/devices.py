"""The kinds of device that jobs ask for and that workers have slots on."""

from itertools import groupby

KINDS = ("cpu", "cuda")
"""What a slot computes on."""
DEVICES = ("auto", *KINDS)
"""What a job asks for with `training.device`; "auto" takes a slot of any kind."""
SLOTS_PATTERN = r"^(auto|(cpu|cuda(:[0-9]{1,3})?)( *, *(cpu|cuda(:[0-9]{1,3})?)){0,255})$"
"""How slots are written down: "auto", or a list like "cpu,cpu,cuda:0"."""


def kind_of(slot: str) -> str:
    """Return the kind of a slot: "cuda" for "cuda:1"."""
    return slot.partition(":")[0]


def suiting(kind: str | None) -> tuple[str, ...]:
    """Return what jobs may ask for that a slot of this kind takes; all there is for None."""
    return DEVICES if kind is None else ("auto", kind)


def usable(device: str) -> tuple[str, ...]:
    """Return the kinds of slot that a job takes which asks for this device."""
    return KINDS if device == "auto" else (device,)


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
