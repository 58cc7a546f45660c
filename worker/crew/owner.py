"""The owner of a job that several processes compute for."""

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from worker.crew.group import Parted
from worker.crew.helpers import Ending, Helper
from worker.crew.member import Member
from worker.crew.orders import Order, Work, written
from worker.lease import LeaseLost

log = logging.getLogger(__name__)
VERDICT_SECONDS = 10.0
"""How long it may take to learn which process is gone, once one is missed."""


class HelperLost(LeaseLost):
    """A helper ended, and the job is no longer this attempt's: what becomes of it is written."""


class Owner(Member):
    """The process that owns the job: it alone decides, and knows weights, data and store.

    Helpers start when the block that it is used in begins, and are gone when that ends.
    """

    def __init__(self, devices: Sequence[torch.device], bury: Callable[[Ending], None]) -> None:
        """Have a helper on every device but the first; `bury` is to end the attempt if one of them ends."""
        super().__init__(0, len(devices), devices[0])
        self._devices, self._bury = devices, bury
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._helpers: list[Helper] = []
        self._lost, self._first = threading.Event(), threading.Lock()

    def __enter__(self) -> "Owner":
        self._folder = tempfile.TemporaryDirectory(prefix="crew-")
        folder, size = Path(self._folder.name), self.share.size
        try:
            for rank, device in enumerate(self._devices[1:], 1):
                self._helpers.append(Helper(rank, size, device, folder, self._helper_ended))
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.kill()
        if self._folder is not None:
            self._folder.cleanup()

    def begin(self, work: Work) -> None:
        """Give the helpers a network to compute with; the first time, wait until they are there.

        Raises:
            HelperLost: One of them is gone.
        """
        with self.together():
            for helper in self._helpers:
                helper.wait_until_ready()
            self.tell(work)
            if self._group is None and self._folder is not None:
                self.meet(Path(self._folder.name))

    def tell(self, order: Order) -> None:
        """Tell the helpers what to do."""
        line = written(order)
        for helper in self._helpers:
            helper.tell(line)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do inside the block what all do together.

        Raises:
            HelperLost: A helper is gone.
        """
        try:
            yield
        except (Parted, BrokenPipeError) as error:
            if self._lost.wait(VERDICT_SECONDS):
                raise HelperLost("a helper ended") from error
            raise

    def _helper_ended(self, ending: Ending) -> None:
        with self._first:
            if self._lost.is_set():
                return  # others follow the first one
            try:
                self._bury(ending)
            except Exception:
                # The lease runs out and the job is taken up again from its last checkpoint.
                log.exception("the end of the helper %s could not be written", ending.pid)
            self._lost.set()
