"""Jobs that have trained together, with the weights that count.

Shape letters: K jobs, R rows, O outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from service.uncertainty.ensembles import Ensemble
from worker.packed.evaluate import evaluate
from worker.packed.tally import PackedMeasure, PackedTally
from worker.packed.variants import Variants


@dataclass(frozen=True)
class Finished:
    """What is measured at the end is measured with what predicts from then on."""

    variants: Variants
    ensemble: Ensemble

    def outputs(self, x: Tensor, shared: bool) -> Tensor:
        """Return the outputs in prediction mode, [K, R, O]; `shared`: all jobs see the same rows, [R, ...]."""
        return self.ensemble.members_on(x, shared)

    def measure(self, part: str, measured: PackedMeasure, between: Callable[[], None]) -> list[dict[str, Any]]:
        """Return loss and metrics of each job on its rows of one part."""
        return evaluate(self, part, PackedTally(measured, len(self.variants)), between)
