"""Which rows of a pass each process of a crew computes, and what random values they have."""

from torch import Tensor

from service.blocks.noise import StepNoise


class Share:
    """The rows of this process in the pass at hand: all processes have as many, or one more.

    A pass of fewer rows than processes is the owner's alone.
    """

    def __init__(self, rank: int, size: int) -> None:
        """Stand for process number `rank` of `size`; the owner of the job has number 0."""
        self.rank, self.size = rank, size
        self.rows = 0

    def deal(self, rows: int) -> None:
        """Divide the rows of the next pass."""
        self.rows = rows

    @property
    def alone(self) -> bool:
        """True when the owner computes all of it."""
        return self.rows < self.size

    def of(self, rank: int) -> slice:
        """Return the rows of a process."""
        if self.alone:
            return slice(0, self.rows)
        return slice(self.rows * rank // self.size, self.rows * (rank + 1) // self.size)

    @property
    def own(self) -> slice:
        """The rows of this process."""
        return self.of(self.rank)

    def counts(self) -> list[int]:
        """Return how many rows each process has."""
        return [self.of(rank).stop - self.of(rank).start for rank in range(self.size)]


class SharedNoise(StepNoise):
    """The values that some rows have where one process draws for all: a slice of what is drawn for all of them."""

    share: Share

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        """Return the bits of this process's rows."""
        return self._own(super().bits(key, self._of_all(shape)))

    def mask(self, key: int, shape: tuple[int, ...], rate: float) -> Tensor:
        """Return the mask of this process's rows."""
        return self._own(super().mask(key, self._of_all(shape), rate))

    def _of_all(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        own = self.share.own
        return (shape[0] * self.share.rows // (own.stop - own.start), *shape[1:])

    def _own(self, values: Tensor) -> Tensor:
        # A layer may see every row as several, one below the other.
        each, own = values.shape[0] // self.share.rows, self.share.own
        return values[own.start * each : own.stop * each]
