"""One try: what is sent, what is refused, and how long until the next."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.store.webhook_tables import Delivery, Webhook
from service.webhooks.attempts import attempt, body_of, pause_after
from service.webhooks.signing import new_secret
from tests.support.receiver import Receiver

DATA = {"job": "job_x", "status": "succeeded"}


def delivery(attempts: int = 1) -> Delivery:
    return Delivery(id="dlv_1", event="job.succeeded", data=DATA, created_at=1.5, attempts=attempts)


def webhook(url: str) -> Webhook:
    return Webhook(id="whk_1", url=url, secret=new_secret())


def test_the_receiver_gets_a_signed_message(receiver: Receiver, url: str, settings: Settings) -> None:
    hook = webhook(f"{url}/path")
    outcome = attempt(delivery(), hook, settings)
    assert (outcome.delivered, outcome.status, outcome.error) == (True, 204, None)
    (message,) = receiver.messages
    assert message.path == "/path"
    assert message.json == {"type": "job.succeeded", "timestamp": "1970-01-01T00:00:01.500Z", "data": DATA}
    assert message.headers["content-type"] == "application/json"
    assert message.headers["user-agent"].startswith("Trainyard/")
    assert message.id == "dlv_1"
    assert message.is_signed_with(hook.secret)
    assert not message.is_signed_with(new_secret())
    assert hook.secret not in str(message.headers)


@pytest.mark.parametrize("status", [199 + 1, 201, 204, 299])
def test_2xx_takes_the_message(receiver: Receiver, url: str, settings: Settings, status: int) -> None:
    receiver.answers = [status]
    assert attempt(delivery(), webhook(url), settings).delivered


@pytest.mark.parametrize("status", [301, 307, 400, 404, 410, 429, 500, 503])
def test_nothing_else_does(receiver: Receiver, url: str, settings: Settings, status: int) -> None:
    receiver.answers = [status]
    outcome = attempt(delivery(), webhook(url), settings)
    assert (outcome.delivered, outcome.status) == (False, status)
    assert str(status) in (outcome.error or "")


def test_private_addresses_are_refused_when_it_is_sent(receiver: Receiver, url: str, settings: Settings) -> None:
    strict = settings.model_copy(update={"webhook_allow_private": False})
    outcome = attempt(delivery(), webhook(url), strict)
    assert outcome.error == "The URL leads to an address that is not public."
    assert receiver.messages == []


def test_a_name_that_was_public_once_is_refused_when_it_no_longer_is(
    receiver: Receiver, url: str, settings: Settings
) -> None:
    strict = settings.model_copy(update={"webhook_allow_private": False})
    asked = []

    def rebound(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["93.184.215.14", "127.0.0.1"]

    outcome = attempt(delivery(), webhook(url.replace("127.0.0.1", "hooks.example.com")), strict, rebound)
    assert "not public" in (outcome.error or "")
    assert asked == ["hooks.example.com"]
    assert receiver.messages == []


def test_a_name_is_resolved_once_and_its_address_is_the_one_connected_to(
    receiver: Receiver, url: str, settings: Settings
) -> None:
    asked = []

    def once(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    assert attempt(delivery(), webhook(url.replace("127.0.0.1", "hooks.invalid")), settings, once).delivered
    assert asked == ["hooks.invalid"]
    assert receiver.messages[0].headers["host"].startswith("hooks.invalid:")


def test_a_delivery_that_was_tried_too_often_is_not_sent(receiver: Receiver, url: str, settings: Settings) -> None:
    assert attempt(delivery(settings.webhook_tries), webhook(url), settings).delivered
    assert not attempt(delivery(settings.webhook_tries + 1), webhook(url), settings).delivered
    assert len(receiver.messages) == 1


def test_pauses_double_up_to_an_hour_with_jitter_and_end() -> None:
    settings = Settings(webhook_tries=2000, webhook_retry_seconds=5.0)
    for tried, full in [(1, 5), (2, 10), (3, 20), (10, 2560), (11, 3600), (1999, 3600)]:
        drawn = [pause_after(tried, settings) for _ in range(200)]
        assert all(pause is not None and full / 2 <= pause <= full for pause in drawn)
        assert len(set(drawn)) > 100
    assert pause_after(2000, settings) is None


def test_the_body_is_the_same_at_every_try_and_small() -> None:
    assert body_of(delivery(1)) == body_of(delivery(7))
    assert len(body_of(delivery())) < 1000


PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"


def test_what_the_documentation_says_of_messages_is_so(receiver: Receiver, url: str, settings: Settings) -> None:
    """Its function verifies what is sent, and its example has the fields of a message."""
    page = PAGE.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (shown,) = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL) if '"sequence"' in text]
    names: dict[str, Any] = {}
    exec(code, names)
    hook = webhook(url)
    told = Delivery(id="dlv_1", event=shown["type"], data=shown["data"], created_at=1.5, attempts=1)
    assert attempt(told, hook, settings).delivered
    (message,) = receiver.messages
    assert message.json == {**shown, "timestamp": "1970-01-01T00:00:01.500Z"}
    assert names["verified"](hook.secret, message.headers, message.body)
    assert not names["verified"](new_secret(), message.headers, message.body)
    assert not names["verified"](hook.secret, message.headers, message.body + b" ")
    late = {**message.headers, "webhook-timestamp": "1"}
    assert not names["verified"](hook.secret, late, message.body)
