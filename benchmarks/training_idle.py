"""What surrounds a loop in a benchmark: nobody who wishes anything, nowhere to write to."""

from worker.training.recorder import Recorder


class Alone:
    """A lease of nothing: nobody wishes anything."""

    job_id, wish = "", None

    def at_step(self) -> None:
        """Nobody looks."""


class Silent(Recorder):
    """Keeps measured values to itself."""

    def due(self) -> bool:
        """Never: there is nowhere to write to."""
        return False
