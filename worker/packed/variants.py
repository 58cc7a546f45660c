"""What jobs that train together may differ in: seed, learning rate, penalties on kernels, rates of dropout, rows.

Shape letter: K jobs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from service.blocks.noise import StochasticModule
from service.blocks.plateau import ReduceOnPlateau
from service.network import Network, build_network
from service.spec import JobSpec
from worker.rows import TrainingData

MASKS = ("dropout", "spatial_dropout")
"""Layers that take nothing but a mask from their rate."""


@dataclass(frozen=True)
class Variant:
    """One of the jobs: its number among all that began together, its specification and its data."""

    number: int
    spec: JobSpec
    data: TrainingData

    @property
    def seed(self) -> int:
        """What everything random of it follows from."""
        return self.spec.training.seed


class Penalty(NamedTuple):
    """What multiplies the penalties on a kernel, for each job, [K]; None where no job has any."""

    l1: Tensor | None
    l2: Tensor | None

    def of(self, kernel: Tensor) -> Tensor:
        """Return the penalties on a stacked kernel [K, ...], [K]."""
        values = kernel.flatten(1)
        total = values.new_zeros(len(values))
        if self.l1 is not None:
            total = total + self.l1 * values.abs().sum(1)
        if self.l2 is not None:
            total = total + self.l2 * values.square().sum(1)
        return total


@dataclass(frozen=True)
class Variants:
    """Jobs of one shape that take their steps together."""

    members: tuple[Variant, ...]

    @classmethod
    def of(cls, members: Sequence[Variant]) -> "Variants":
        """Return jobs that are to train together.

        Raises:
            ValueError: They differ in something that a step cannot have more than one of.
        """
        first, *others = members
        shape, rows = _shape(first.spec), _rows(first.data)
        for other in others:
            if _shape(other.spec) != shape:
                raise ValueError(f"jobs {first.number} and {other.number} are of different shapes")
            if other.data is not first.data and _rows(other.data) != rows:
                raise ValueError(f"jobs {first.number} and {other.number} have different numbers of rows")
        return cls(tuple(members))

    def __iter__(self) -> Iterator[Variant]:
        """Yield the jobs in the order in which they are stacked."""
        return iter(self.members)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.members)

    @property
    def spec(self) -> JobSpec:
        """What holds for all of them is said by the first."""
        return self.members[0].spec

    @cached_property
    def seeds(self) -> list[int]:
        """Their seeds."""
        return [member.seed for member in self.members]

    @cached_property
    def learning_rates(self) -> list[float]:
        """Their learning rates before the schedule."""
        return [member.spec.optimizer.learning_rate for member in self.members]

    @cached_property
    def rates_stay_alike(self) -> bool:
        """Whether all of them have the same learning rate at every step."""
        return len(set(self.learning_rates)) == 1 and not isinstance(self.spec.schedule, ReduceOnPlateau)

    @cached_property
    def shares_rows(self) -> bool:
        """Whether they learn from the same rows and are validated on the same ones."""
        return all(member.data is self.members[0].data for member in self.members)

    def take(self, places: Sequence[int]) -> "Variants":
        """Return those at some places."""
        return Variants(tuple(self.members[place] for place in places))

    def build(self, place: int) -> Network:
        """Return the network of one of them on the meta device."""
        spec, data = self.members[place].spec, self.members[place].data
        shape, words = data.input_shape, data.vocabulary
        return build_network(spec.network, spec.regularization, shape, data.outputs, vocabulary=words)

    def mask_rates(self, network: Network) -> dict[int, list[float]]:
        """Return the rates of each job by the number of the stochastic layer, where they differ; of its own network."""
        found: dict[int, list[float]] = {}
        for modules in zip(*map(_stochastic, self._networks(network)), strict=True):
            rates = [float(getattr(module, "rate", 0.0)) for module in modules]
            if len(set(rates)) > 1:
                found[modules[0].key] = rates
        return found

    def penalties(self, network: Network, device: torch.device) -> dict[str, Penalty]:
        """Return the penalties of all jobs by the name of the kernel; `network` is that of the first job."""
        said = [dict(own.penalized) for own in self._networks(network)]
        found = {}
        for name in dict.fromkeys(name for rules in said for name in rules):
            own = [rules.get(name) for rules in said]
            l1, l2 = ([getattr(rule, kind) if rule else 0.0 for rule in own] for kind in ("l1", "l2"))
            found[name] = Penalty(*(torch.tensor(w, device=device) if any(w) else None for w in (l1, l2)))
        return found

    def _networks(self, first: Network) -> list[Network]:
        """Return a network for each; one for all that are alike but for chance."""
        known = {_said(self.spec): first}
        by_parts: dict[tuple[int, int], Network] = {}
        found = []
        for place, member in enumerate(self.members):
            parts = id(member.spec.network), id(member.spec.regularization)
            if parts not in by_parts:
                said = _said(member.spec)
                by_parts[parts] = known[said] if said in known else known.setdefault(said, self.build(place))
            found.append(by_parts[parts])
        return found


def replicas_of(spec: JobSpec, data: TrainingData, count: int) -> Variants:
    """Return jobs on the same rows that differ in nothing but the seed: that of the specification and the next ones."""
    if count == 1:
        return Variants((Variant(0, spec, data),))
    own = spec.data.model_copy(update={"split": spec.data.split.model_copy(update={"seed": _split_seed(spec)})})
    members = []
    for number in range(count):
        training = spec.training.model_copy(update={"seed": spec.training.seed + number})
        members.append(Variant(number, spec.model_copy(update={"training": training, "data": own}), data))
    return Variants(tuple(members))


def _split_seed(spec: JobSpec) -> int:
    own = spec.data.split.seed
    return spec.training.seed if own is None else own


def _said(spec: JobSpec) -> str:
    return spec.network.model_dump_json() + spec.regularization.model_dump_json()


def _stochastic(network: Network) -> list[StochasticModule]:
    return [module for module in network.modules() if isinstance(module, StochasticModule)]


def _rows(data: TrainingData) -> tuple[Any, ...]:
    return data.input_shape, data.outputs, len(data.train), len(data.validation), len(data.test)


def _shape(spec: JobSpec) -> Any:
    """Return what must be the same of all jobs that train together, as JSON values."""
    value = spec.canonical()
    del value["name"], value["priority"], value["data"]["split"], value["training"]["seed"]
    del value["optimizer"]["learning_rate"], value["regularization"]["l1"], value["regularization"]["l2"]
    value.pop("replicas", None)
    value["network"] = _shape_of_layers(value["network"])
    return value


def _shape_of_layers(value: Any) -> Any:
    """Return a part of a network without its penalties on kernels and without how much its dropout drops."""
    if isinstance(value, list):
        return [_shape_of_layers(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _shape_of_layers(item) for name, item in value.items()}
    if value.get("type") in MASKS and value["rate"]:
        found["rate"] = "any"
    if isinstance(rule := value.get("regularizer"), dict):
        found["regularizer"] = {name: rule[name] for name in ("activity_l1", "activity_l2")}
    return found
