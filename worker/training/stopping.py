"""Which epoch was the best, and whether to go on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.blocks.metrics import Metric
from service.spec import JobSpec
from worker.training.monitor import VALIDATION, Values, higher_is_better, improves, value_of


@dataclass
class Stopping:
    """Follows one value from epoch to epoch.

    Reference: Prechelt 1998, "Early Stopping - But When?".
    """

    monitor: str
    higher_is_better: bool
    patience: int | None
    min_delta: float
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0

    @classmethod
    def of(cls, spec: JobSpec, metrics: list[Metric], has_validation: bool) -> "Stopping | None":
        """Return what the specification asks for; None where there is nothing to follow."""
        wanted = spec.regularization.early_stopping
        if wanted is None and (not has_validation or spec.training.keep == "last"):
            return None
        monitor = wanted.monitor if wanted else f"{VALIDATION}loss"
        better = higher_is_better(monitor, metrics)
        return cls(monitor, better, wanted.patience if wanted else None, wanted.min_delta if wanted else 0.0)

    def better(self, epoch: int, values: Values) -> bool:
        """Take in the values of an epoch by split and name; return whether it is the best so far."""
        value = value_of(self.monitor, values)
        if improves(value, self.best, self.min_delta, self.higher_is_better):
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def exhausted(self) -> bool:
        """True when patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON values."""
        return asdict(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.best, self.best_epoch, self.waited = state["best"], state["best_epoch"], state["waited"]
        if self.exhausted:
            self.waited = 0  # whoever goes on from here wants more epochs, whatever was seen before
