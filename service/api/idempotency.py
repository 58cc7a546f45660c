"""`Idempotency-Key`: a POST that is sent again gets the answer of the first time, and does nothing twice."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import Depends, Header, Request, Response
from sqlalchemy.orm import Session

from service.api.deps import Backend, Service
from service.store import idempotency

REPLAYED = "Idempotency-Replayed"
KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,255}$",
        description="Any text of your own, new for every new request. Sent again with the same request, it gets the "
        "answer of the first time instead of a second effect.",
    ),
]


@dataclass(frozen=True)
class Reply:
    """The answer to a POST, as it is sent and as it is remembered."""

    status: int
    body: dict[str, Any] | None
    location: str | None
    replayed: bool = False

    @property
    def id(self) -> str:
        """The id of what the request made."""
        return str((self.body or {})["id"])

    def response(self) -> Response:
        """Return the HTTP answer; a replay has the same bytes as the first one."""
        headers = {"Location": self.location} if self.location else {}
        if self.replayed:
            headers[REPLAYED] = "true"
        return Response(orjson.dumps(self.body), self.status, headers, "application/json")


class Once:
    """The Idempotency-Key of a request, what makes the request this one, and the answer of the first time."""

    def __init__(self, request: Request, service: Backend, key: str | None) -> None:
        self._store = service.store
        # The same key on another resource is another key: clients need not know of each other's choices.
        self._key = None if key is None else hashlib.sha256(f"{request.url.path} {key}".encode()).hexdigest()
        self._query = urlencode(sorted(request.query_params.multi_items()))
        self._earlier: idempotency.Answer | None = None

    def fingerprint(self, content_sha256: str) -> str:
        """Return the hash of the request with this content."""
        return hashlib.sha256(f"{self._query} {content_sha256}".encode()).hexdigest()

    def recall(self) -> None:
        """Look for the answer of the first time; takes nothing."""
        if self._key is not None:
            with self._store.read() as session:
                self._earlier = idempotency.find(session, self._key)

    def take(self, session: Session, fingerprint: str) -> Reply | None:
        """Take the key in the transaction that does the work, or return the answer of somebody who was quicker.

        Raises:
            IdempotencyMismatch: The first request was another one.
            RequestInFlight: The first request is still being answered.
        """
        if self._key is not None:
            self._earlier = idempotency.begin(session, self._key, fingerprint)
        return self.replay(fingerprint)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Take the key for the time of the block, for a request that takes longer; a block that fails frees it.

        Raises:
            RequestInFlight: The first request is still being answered.
        """
        if self._key is None:
            yield
            return
        with self._store.begin() as session:
            self._earlier = idempotency.begin(session, self._key, None)
        try:
            yield
        except BaseException:
            with self._store.begin() as session:
                idempotency.forget(session, self._key)
            raise

    def replay(self, fingerprint: str) -> Reply | None:
        """Return the answer of the first time, or None if this is the first.

        Raises:
            IdempotencyMismatch: The first request was another one.
        """
        if self._earlier is None:
            return None
        idempotency.check(self._earlier.fingerprint, fingerprint)
        return Reply(self._earlier.status, self._earlier.body, self._earlier.location, replayed=True)

    def finish(self, session: Session, fingerprint: str, reply: Reply) -> None:
        """Remember the answer, in the transaction that does the work."""
        if self._key is not None:
            idempotency.finish(
                session,
                self._key,
                status=reply.status,
                body=reply.body,
                location=reply.location,
                fingerprint=fingerprint,
            )


async def once(request: Request, service: Service, key: KeyHeader = None) -> Once:
    """Return the request's idempotency."""
    return Once(request, service, key)


Idempotency = Annotated[Once, Depends(once)]
MaybeOnce = Annotated[Once | None, Depends(once)]
"""Of a route that is also called past the router, where there is none."""
