"""What comes of a run."""

from dataclasses import dataclass, field
from typing import Any

from service.uncertainty.calibration import Calibration


@dataclass(frozen=True)
class Result:
    """What a run comes to: measured values by split, calibration, bytes of the weights."""

    values: dict[str, Any]
    calibration: Calibration | None
    weights: bytes
    parameters: int
    """Of one network."""
    facts: dict[str, Any]
    """What the receipt says besides what it says of every run."""
    best_epoch: int | None = None
    members: int | None = None
    """Networks whose weights are stacked in the bytes; None: they are those of one network."""
    deterministic: bool = True
    """False when the bits of the weights are a matter of more than the receipt says."""


@dataclass(frozen=True)
class Arithmetic:
    """How steps computed, as the receipt says it."""

    precision: str = "float32"
    tf32: bool = False
    compiled: bool = False
    steps_skipped: int | None = field(default=None)
    """Steps that overflowed and were left out; None: numbers are scaled in none."""

    def facts(self) -> dict[str, Any]:
        """Return JSON values."""
        known = {"precision": self.precision, "tf32": self.tf32, "compiled": self.compiled}
        return known if self.steps_skipped is None else {**known, "steps_skipped": self.steps_skipped}
