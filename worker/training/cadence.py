"""When a run stores checkpoints."""

import time

from service.settings import Settings
from service.spec import TrainingSpec


class Cadence:
    """A clock, and a count of steps."""

    def __init__(self, training: TrainingSpec, settings: Settings) -> None:
        wanted = training.checkpoint_seconds
        self._steps = training.checkpoint_steps
        self._seconds = settings.checkpoint_seconds if wanted is None else wanted
        self._said = time.monotonic()

    def due(self, step: int, epoch_ended: bool) -> bool:
        """Tell whether a checkpoint is to be stored after so many steps."""
        return (self._steps is not None and step % self._steps == 0) or self._time_has_come(epoch_ended)

    def _time_has_come(self, epoch_ended: bool) -> bool:
        # 0 seconds stands for the ends of epochs, not for every look.
        if not (epoch_ended or self._seconds > 0) or time.monotonic() - self._said < self._seconds:
            return False
        self._said = time.monotonic()
        return True
