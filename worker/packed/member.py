"""What is known of one of several jobs that train together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.blocks.metrics import Metric
from worker.packed.variants import Variant
from worker.training.monitor import Values
from worker.training.plateau import Plateau
from worker.training.stopping import Stopping


@dataclass
class Member:
    """Where a job stands: what it measured last, whether it goes on, and which of its weights count."""

    variant: Variant
    stopping: Stopping | None
    plateau: Plateau | None
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What its last epoch gave, by split and name."""
    best_values: dict[str, dict[str, Any]] = field(default_factory=dict)
    epochs: int = 0
    """Epochs that it has trained."""
    kept: bool = False
    """Whether the weights that count are put aside: those of its best epoch, or its last ones where it has ended."""
    ended: bool = False
    """True when its patience has run out."""
    failure: str | None = None
    """Why it is left out, in a sentence."""

    @classmethod
    def of(cls, variant: Variant, metrics: Sequence[Metric]) -> "Member":
        """Return a job before its first step."""
        has_validation = len(variant.data.validation) > 0
        stopping = Stopping.of(variant.spec, list(metrics), has_validation)
        return cls(variant, stopping, Plateau.of(variant.spec, metrics, has_validation))

    @property
    def number(self) -> int:
        """Its number among all that began together."""
        return self.variant.number

    @property
    def live(self) -> bool:
        """True while it trains."""
        return not self.ended and self.failure is None

    @property
    def reduction(self) -> float:
        """What a plateau has left of its learning rate."""
        return self.plateau.factor if self.plateau else 1.0

    def see(self, values: Values) -> bool:
        """Take in what an epoch gave; return whether its weights are the best so far."""
        self.epochs += 1
        self.values = {split: dict(found) for split, found in values.items()}
        if self.plateau:
            self.plateau.see(values)
        better = self.stopping is not None and self.stopping.better(self.epochs, values)
        if better:
            self.best_values = self.values
        self.ended = bool(self.stopping and self.stopping.exhausted)
        return better

    def final_values(self) -> dict[str, dict[str, Any]]:
        """Return what was measured with the weights that count."""
        return self.best_values or self.values

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON values."""
        return {
            "stopping": self.stopping.state() if self.stopping else None,
            "plateau": self.plateau.state() if self.plateau else None,
            "values": self.values,
            "best_values": self.best_values,
            "epochs": self.epochs,
            "kept": self.kept,
            "ended": self.ended,
            "failure": self.failure,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        if self.stopping:
            self.stopping.restore(state["stopping"])
        if self.plateau:
            self.plateau.restore(state["plateau"])
        self.values, self.best_values = state["values"], state["best_values"]
        self.epochs, self.kept, self.ended = state["epochs"], state["kept"], state["ended"]
        self.failure = state["failure"]


def means(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of numbers by name; what is not one number, as a confusion matrix, has none."""
    names = dict.fromkeys(name for values in each for name, value in values.items() if isinstance(value, int | float))
    by_name = {name: [values[name] for values in each if name in values] for name in names}
    return {name: sum(numbers) / len(numbers) for name, numbers in by_name.items()}
