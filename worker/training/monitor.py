"""Following one measured value from epoch to epoch."""

import math
from collections.abc import Mapping, Sequence

from service.blocks.metrics import Metric

VALIDATION = "val_"
Values = Mapping[str, Mapping[str, float]]


def higher_is_better(monitor: str, metrics: Sequence[Metric]) -> bool:
    """Tell whether more of `monitor` is better; of the loss it is not."""
    plain = monitor.removeprefix(VALIDATION)
    return next((metric.higher_is_better for metric in metrics if metric.key == plain), False)


def value_of(monitor: str, values: Values) -> float:
    """Return the monitored one of an epoch's values by split and name, NaN where it was not measured."""
    split = "validation" if monitor.startswith(VALIDATION) else "train"
    return values.get(split, {}).get(monitor.removeprefix(VALIDATION), math.nan)


def improves(value: float, best: float | None, min_delta: float, higher: bool) -> bool:
    """Tell whether `value` is better than `best` by more than `min_delta`; what is not finite never is."""
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return (value - best if higher else best - value) > min_delta
