"""Which of several jobs still train, where each stands in the stack, and which weights count of those that do not."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from service.blocks.metrics import Metric
from worker.packed.member import Member, means
from worker.packed.pack import Pack
from worker.packed.shelf import Shelf
from worker.packed.variants import Variants
from worker.training.checkpoints import Tensors
from worker.training.finite import not_finite

Values = Mapping[str, Sequence[dict[str, Any]]]
"""What an epoch gave: by split, for every place of the stack, by name."""


class Roster:
    """The jobs by their number, and their places in the stack."""

    def __init__(self, variants: Variants, metrics: Sequence[Metric], fails: Callable[[Member], None]) -> None:
        """Begin with all of them in the stack; `fails` is called with every job that is left out."""
        self.variants, self._fails = variants, fails
        self.members = [Member.of(variant, metrics) for variant in variants]
        self.places = list(range(len(variants)))
        """Numbers of the jobs in the stack."""
        self._shelf = Shelf(len(variants))

    @property
    def live(self) -> list[Member]:
        """The jobs that train."""
        return [member for member in self.members if member.live]

    @property
    def sound(self) -> list[Member]:
        """The jobs that are not left out."""
        return [member for member in self.members if member.failure is None]

    @property
    def stacked(self) -> Variants:
        """The jobs in the stack."""
        return self.variants.take(self.places)

    @property
    def reductions(self) -> list[float]:
        """What plateaus have left of the learning rates in the stack."""
        return [self.members[number].reduction for number in self.places]

    def training(self, by_place: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
        """Return of what there is for every place that of the jobs that train, by their number."""
        return {member.number: by_place[place] for place, member in self._stack() if member.live}

    def leave_out(self, what: str, values: Sequence[float], step: int, epoch: int) -> None:
        """Leave out the jobs whose value, by place, is not finite.

        Raises:
            NonFiniteLoss: No job is left.
        """
        for place, member in self._stack():
            if member.live and not math.isfinite(values[place]):
                error = not_finite(what, values[place], step, epoch)
                member.failure = error.message
                if not self.sound:
                    raise error
                self._fails(member)

    def see(self, values: Values, pack: Pack) -> None:
        """Take in what an epoch gave; put the weights aside that are the best so far, and those of who has ended."""
        for place, member in self._stack():
            if member.live:
                better = member.see({split: found[place] for split, found in values.items()})
                if better or (member.ended and not member.kept):
                    self._keep(place, member, pack)

    def thin(self) -> list[int] | None:
        """Take those out of the stack that do not train, once they are half of it; return the places that stay."""
        left = [place for place, member in self._stack() if member.live]
        if not left or 2 * len(left) > len(self.places):
            return None
        self.places = [self.places[place] for place in left]
        return left

    def values(self) -> dict[str, dict[str, Any]]:
        """Return the mean over the jobs that are not left out of what their last epoch gave, by split and name."""
        return mean_values([member.values for member in self.sound])

    def final_weights(self, pack: Pack) -> dict[str, Tensor]:
        """Return the weights that count of the jobs that are not left out, stacked in their order, by name."""
        for place, member in self._stack():
            if member.failure is None and not member.kept:
                self._keep(place, member, pack)
        return self._shelf.of([number for number, member in enumerate(self.members) if member.failure is None])

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        """Return everything that a checkpoint keeps: tensors on the CPU, and JSON values."""
        return self._shelf.tensors(), {"places": self.places, "each": [member.state() for member in self.members]}

    def restore(self, tensors: Tensors, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from what `save` returned."""
        self._shelf.restore(tensors, device)
        self.places = list(state["places"])
        for member, kept in zip(self.members, state["each"], strict=True):
            member.restore(kept)

    def _stack(self) -> Iterator[tuple[int, Member]]:
        return ((place, self.members[number]) for place, number in enumerate(self.places))

    def _keep(self, place: int, member: Member, pack: Pack) -> None:
        self._shelf.put(self.places[place], pack.weights(place))
        member.kept = True


def mean_values(each: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the means over several jobs of what was measured, by split and name."""
    splits = dict.fromkeys(split for values in each for split in values)
    return {split: means([values[split] for values in each if split in values]) for split in splits}
