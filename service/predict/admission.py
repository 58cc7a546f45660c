"""How many predict requests may be in the house at once, and how many bytes of them: more are turned away at once."""

from typing import Self

from service.errors import Overloaded


class Place:
    """The place of one request until it has been answered, which takes more room as its body arrives."""

    def __init__(self, house: "Admission") -> None:
        self._house = house
        self.held = 0

    def __enter__(self) -> Self:
        """Let the request in.

        Raises:
            Overloaded: As many requests as are let in have not been answered yet.
        """
        house = self._house
        if house.requests >= house.most_requests:
            raise Overloaded(f"{house.requests:,} predictions are in progress; no more are let in.")
        house.requests += 1
        return self

    def __exit__(self, *raised: object) -> None:
        self._house.requests -= 1
        self._house.held -= self.held

    def grow(self, count: int) -> None:
        """Take `count` bytes more.

        Raises:
            Overloaded: Together with the bodies of other requests they are too many.
        """
        self._house.held += count
        self.held += count
        if self.held < self._house.held > self._house.most_bytes:
            raise Overloaded("The bodies of the predictions in progress fill the memory that is set aside for them.")


class Admission:
    """Counts what is in the house; used from one thread, that of the event loop.

    A body that comes when there is no other may be as large as the limit on bodies allows.
    """

    def __init__(self, most_requests: int, most_bytes: int) -> None:
        self.most_requests, self.most_bytes = most_requests, most_bytes
        self.requests = self.held = 0

    def place(self) -> Place:
        """Return a place for one request, to be entered."""
        return Place(self)
