"""The learning rate falls when a value no longer gets better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.blocks.metrics import Metric
from service.blocks.plateau import ReduceOnPlateau
from service.spec import JobSpec
from worker.training.monitor import VALIDATION, Values, higher_is_better, improves, value_of


@dataclass
class Plateau:
    """What `reduce_on_plateau` has seen; `factor` is the share of the rate that is left."""

    rule: ReduceOnPlateau
    monitor: str
    higher: bool
    factor: float = 1.0
    best: float | None = None
    waited: int = 0
    cooling: int = 0

    @classmethod
    def of(cls, spec: JobSpec, metrics: Sequence[Metric], has_validation: bool) -> "Plateau | None":
        """Return the follower that the schedule asks for; None where it asks for none."""
        rule = spec.schedule
        if not isinstance(rule, ReduceOnPlateau):
            return None
        monitor = rule.monitor or (f"{VALIDATION}loss" if has_validation else "loss")
        return cls(rule, monitor, higher_is_better(monitor, metrics))

    def see(self, values: Values) -> None:
        """Take in the values of an epoch."""
        value = value_of(self.monitor, values)
        if improves(value, self.best, self.rule.min_delta, self.higher):
            self.best, self.waited = value, 0
        elif not self.cooling:
            self.waited += 1
        self.cooling = max(0, self.cooling - 1)
        if self.waited >= self.rule.patience:
            self.factor = max(self.rule.min_factor, self.factor * self.rule.gamma)
            self.waited, self.cooling = 0, self.rule.cooldown

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON values."""
        return {"factor": self.factor, "best": self.best, "waited": self.waited, "cooling": self.cooling}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.factor, self.best = state["factor"], state["best"]
        self.waited, self.cooling = state["waited"], state["cooling"]
