"""A receiver to send to, and rows to send."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from service.settings import Settings
from service.store import webhooks
from service.store.engine import Store
from service.store.outbox import STATES
from service.store.webhook_tables import Webhook
from service.webhooks.signing import new_secret
from tests.support.receiver import Receiver, receiving

EVENTS = [f"job.{state}" for state in STATES]


@pytest.fixture
def served() -> Iterator[tuple[Receiver, str]]:
    with receiving() as found:
        yield found


@pytest.fixture
def receiver(served: tuple[Receiver, str]) -> Receiver:
    return served[0]


@pytest.fixture
def url(served: tuple[Receiver, str]) -> str:
    return served[1]


@pytest.fixture
def settings() -> Settings:
    return Settings(webhook_allow_private=True, webhook_seconds=2.0, webhook_retry_seconds=0.01, webhook_tries=3)


@pytest.fixture
def new_webhook_in() -> Callable[..., Webhook]:
    def create(store: Store, url: str, job: str | None = None) -> Webhook:
        with store.begin() as session:
            return webhooks.insert(session, url=url, events=EVENTS, secret=new_secret(), job=job)

    return create


@pytest.fixture
def new_webhook(store: Store, new_webhook_in: Callable[..., Webhook]) -> Callable[..., Webhook]:
    return partial(new_webhook_in, store)
