"""One try to deliver: the message as it is sent, the answer as it is noted, and the pause before the next try."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import orjson

from service.settings import Settings
from service.store.webhook_tables import Delivery, Webhook
from service.times import rfc3339
from service.webhooks.addresses import Refused, Resolve, Unresolved, addresses_of, read_url
from service.webhooks.posting import Deadline, NotPosted, post
from service.webhooks.signing import signature

LONGEST_PAUSE_SECONDS = 3600.0


@dataclass(frozen=True)
class Outcome:
    """What came of a try: the status of the answer, or why there was none."""

    status: int | None
    error: str | None

    @property
    def delivered(self) -> bool:
        """Whether the receiver took the message."""
        return self.error is None


def attempt(delivery: Delivery, webhook: Webhook, settings: Settings, resolve: Resolve | None = None) -> Outcome:
    """Send a delivery once; takes at most `webhook_seconds`."""
    if delivery.attempts > settings.webhook_tries:  # whoever made the last one died before the end of it
        return Outcome(None, "No try came to an end.")
    deadline = Deadline(settings.webhook_seconds)
    body = body_of(delivery)
    try:
        url = read_url(webhook.url)
        addresses = addresses_of(url, settings.webhook_allow_private, settings.webhook_seconds, resolve)
        status = post(url, addresses, headers_of(delivery, webhook.secret, body), body, deadline)
    except Refused as error:
        return Outcome(None, f"The URL {error}.")
    except (Unresolved, NotPosted) as error:
        return Outcome(None, f"There was no answer: {error}.")
    return Outcome(status, None if 200 <= status < 300 else f"The answer was {status}; 2xx would take the message.")


def body_of(delivery: Delivery) -> bytes:
    """Return the JSON that is sent; the same bytes at every try."""
    return orjson.dumps({"type": delivery.event, "timestamp": rfc3339(delivery.created_at), "data": delivery.data})


def headers_of(delivery: Delivery, secret: str, body: bytes) -> Mapping[str, str]:
    """Return the headers of a message that is sent now."""
    timestamp = int(time.time())
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Trainyard/{version('trainyard')}",
        "Connection": "close",
        "Webhook-Id": delivery.id,
        "Webhook-Timestamp": str(timestamp),
        "Webhook-Signature": signature(secret, delivery.id, timestamp, body),
    }


def pause_after(attempts: int, settings: Settings) -> float | None:
    """Return the seconds until the next try after so many failed ones; None after the last.

    The pause doubles with every try, up to an hour; a random half of it keeps receivers that come back from being
    overrun by everybody at once.
    """
    if attempts >= settings.webhook_tries:
        return None
    full = min(settings.webhook_retry_seconds * 2.0 ** min(attempts - 1, 60), LONGEST_PAUSE_SECONDS)
    return full * random.uniform(0.5, 1.0)
