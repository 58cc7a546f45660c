"""What a process of a crew knows of the crew: its own place, and the others once all have met."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from worker.crew.group import Group
from worker.crew.orders import Order
from worker.crew.share import Share


class Member:
    """One process of a crew. A helper is such; `Owner` tells the others what to do."""

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.share, self.device = Share(rank, size), device
        self._group: Group | None = None

    def meet(self, folder: Path) -> None:
        """Wait for all others; `folder` is the crew's own."""
        self._group = Group(folder / "meeting", self.share.rank, self.share.size, self.device)

    @property
    def group(self) -> Group:
        """Everybody."""
        assert self._group is not None, "the crew has not met"
        return self._group

    def tell(self, order: Order) -> None:
        """Tell the helpers what to do; who is a helper has nobody to tell."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do inside the block what all do together."""
        yield
