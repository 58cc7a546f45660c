"""Idempotency keys: a POST that is sent twice is answered once.

`begin` and `finish` may stand in one transaction with the work between them, so that key and work appear
together; a request whose work takes longer begins in a transaction of its own and forgets the key if it fails.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from service.errors import IdempotencyMismatch, Problem, RequestInFlight
from service.store.clock import now
from service.store.tables import IdempotencyKey
from service.store.upserts import upsert

STALE_SECONDS = 600.0
"""After this a request that was never answered is taken to have died with its server."""
KEPT_SECONDS = 86_400.0
"""How long an answer is remembered."""


@dataclass(frozen=True)
class Answer:
    """What was answered to the first request with a key."""

    fingerprint: str | None
    status: int
    body: dict[str, Any] | None
    location: str | None


def find(session: Session, key: str) -> Answer | None:
    """Return the answer that the request with this key was given, None if there is none (yet); takes nothing."""
    held = session.get(IdempotencyKey, key)
    if held is None or held.status is None:
        return None
    return Answer(held.fingerprint, held.status, held.body, held.location)


def begin(session: Session, key: str, fingerprint: str | None, stale_seconds: float = STALE_SECONDS) -> Answer | None:
    """Take a key for a new request, or return the answer that the same request was given before.

    `fingerprint` is a SHA-256 of the request, or None while it is not known yet; compare it later with `check`.

    Raises:
        IdempotencyMismatch: The key was used for another request.
        RequestInFlight: The first request is still being answered.
    """
    _forget_stale(session, key, stale_seconds)
    fresh = upsert(session, IdempotencyKey).values(key=key, fingerprint=fingerprint).on_conflict_do_nothing()
    if session.scalar(fresh.returning(IdempotencyKey.key)) is not None:
        return None
    held = session.get(IdempotencyKey, key, populate_existing=True)
    if held is not None and fingerprint is not None:
        check(held.fingerprint, fingerprint)
    if held is None or held.status is None:
        raise RequestInFlight("The first request with this Idempotency-Key is still being answered; try again later.")
    return Answer(held.fingerprint, held.status, held.body, held.location)


def check(known: str | None, fingerprint: str) -> None:
    """Compare the fingerprints of the first request and of this one.

    Raises:
        IdempotencyMismatch: They differ.
    """
    if known not in (None, fingerprint):
        problem = Problem("Idempotency-Key", "was used before with another request; use a new key for a new request")
        raise IdempotencyMismatch([problem])


def finish(
    session: Session,
    key: str,
    *,
    status: int,
    body: dict[str, Any] | None,
    location: str | None = None,
    fingerprint: str | None = None,
) -> None:
    """Remember the answer; `fingerprint` where it was not known at the beginning."""
    known = {"fingerprint": fingerprint} if fingerprint is not None else {}
    answered = update(IdempotencyKey).where(IdempotencyKey.key == key)
    session.execute(answered.values(status=status, body=body, location=location, **known))


def forget(session: Session, key: str) -> None:
    """Free a key whose request failed, so that it can be tried again."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.key == key, IdempotencyKey.status.is_(None)))


def purge(session: Session, older_than: float = KEPT_SECONDS) -> None:
    """Forget the answers of long ago."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now() - older_than))


def _forget_stale(session: Session, key: str, stale_seconds: float) -> None:
    dead = (IdempotencyKey.status.is_(None), IdempotencyKey.created_at < now() - stale_seconds)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.key == key, *dead))
