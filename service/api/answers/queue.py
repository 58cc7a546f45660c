"""Answers about the queue."""

from typing import Annotated, Literal, Self

from pydantic import Field

from service.api.answers.base import Answer, Count
from service.devices import read_asked
from service.store.waiting import Place


class QueuePlace(Answer):
    """Where a job stands in the queue."""

    position: Annotated[int, Field(ge=1)]
    """Place in the queue, 1 being next: how many claims it takes if no job ends meanwhile."""
    ahead: Count
    """Jobs that are claimed before it."""
    device: Literal["auto", "cpu", "cuda"]
    """Slots that take it, as `training.device` asks; its place is that among the jobs which these slots take."""
    devices: Annotated[int, Field(ge=1)]
    """Devices that the slot must have, as `training.devices` asks."""
    reason: str | None
    """What it waits for besides its turn: a worker with such a slot, or a limit; null if for nothing else."""

    @classmethod
    def of(cls, place: Place) -> Self:
        """Return the answer for a place."""
        position, (device, devices) = place.position, read_asked(place.device)
        return cls(position=position, ahead=position - 1, device=device, devices=devices, reason=place.reason)  # type: ignore[arg-type]  # from a specification
