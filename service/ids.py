"""Time-ordered identifiers with a prefix that says what they name."""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return `prefix_` and 26 characters that sort in the order of creation.

    The body is a ULID (48 bits of milliseconds, 80 random bits) in lower-case Crockford base 32;
    two made in the same millisecond by one process still sort in the order they were made.

    Reference: https://github.com/ulid/spec
    """
    global _last
    with _lock:
        fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        if fresh >> _RANDOM_BITS <= _last >> _RANDOM_BITS:
            fresh = _last + 1 + secrets.randbits(32)
        _last = fresh
    return f"{prefix}_" + "".join(_ALPHABET[fresh >> shift & 31] for shift in range(125, -1, -5))
