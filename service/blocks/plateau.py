"""The schedule that looks at what is measured."""

from typing import Annotated, Literal

from pydantic import Field

from service.blocks.schedules import Horizon, Schedule


class ReduceOnPlateau(Schedule):
    """Multiply the rate by `gamma` when the monitored value has not got better for `patience` epochs.

    It is what Keras and PyTorch call ReduceLROnPlateau; what has been seen is part of a checkpoint.
    """

    type: Literal["reduce_on_plateau"] = "reduce_on_plateau"
    monitor: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    """`loss`, a metric's name, or either with `val_` in front; default: `val_loss`, `loss` without validation rows."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of each drop."""
    patience: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Epochs without improvement before a drop."""
    min_delta: Annotated[float, Field(ge=0, le=1e6)] = 0.0001
    """Smallest change that counts as an improvement."""
    cooldown: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Epochs after a drop in which none are counted."""
    min_factor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the rate below which no drop goes."""

    def curve(self, step: int, horizon: Horizon) -> float:
        return 1.0
