"""What a run trains, and what comes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.uncertainty.calibration import Calibration
from worker.training.checkpoints import Snapshot, Tensors
from worker.training.recorder import Recorder


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


class Runs(Protocol):
    """What is trained, and where it stands."""

    epoch: int
    step: int
    rows: int
    recorder: Recorder

    @property
    def rows_of_batch(self) -> int:
        """Rows of one batch."""

    @property
    def finished(self) -> bool:
        """True when there is nothing more to train."""

    @property
    def keeps(self) -> bool:
        """True at the end of an epoch whose checkpoint is to stay."""

    def run(self, between: Callable[[bool], None]) -> None:
        """Train to the end; `between` is called now and then between steps."""

    def close(self) -> None:
        """Let go of what others in this process may want, until the next step."""

    def snapshot(self) -> Snapshot:
        """Return this moment of the run."""

    def restore(self, state: Mapping[str, Any], tensors: Tensors, best: Tensors | None) -> None:
        """Go on from a snapshot."""
