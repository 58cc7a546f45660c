"""`/v1/webhooks` over HTTP: made, shown, tested, refused, and told of jobs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.webhooks import EXAMPLES
from service.settings import Settings
from service.webhooks.signing import new_secret
from tests.support.real_stack import eventually
from tests.support.receiver import Receiver, receiving

ALL = ["queued", "running", "paused", "succeeded", "failed", "cancelled", "lost"]
URL = "https://hooks.example.com/path?key=value"


@pytest.fixture
def sending(settings: Settings, serving: Any) -> Iterator[Any]:
    """A server that sends, also to loopback."""
    wanted = {"webhook_senders": 4, "webhook_retry_seconds": 0.01, "webhook_tries": 2}
    with serving(settings.model_copy(update=wanted)) as api:
        yield api


@pytest.fixture
def strict(settings: Settings, serving: Any) -> Iterator[Any]:
    """A server that sends nowhere but to public addresses, as a new installation does."""
    usual = Settings.model_fields["webhook_allow_private"].default
    with serving(settings.model_copy(update={"webhook_allow_private": usual})) as api:
        yield api


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    with receiving() as found:
        yield found


def make(api: Any, **body: Any) -> Any:
    answer = api.client.post("/v1/webhooks", json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def problems(answer: httpx.Response) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    return {problem["path"]: problem for problem in answer.json()["errors"]}


def test_a_webhook_is_made_and_its_secret_is_shown_once(both: Any) -> None:
    answer = both.client.post("/v1/webhooks", json={"url": URL})
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}"
    assert re.fullmatch("whk_[0-9a-z]{26}", made["id"])
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
    assert (made["object"], made["url"], made["job"]) == ("webhook", URL, None)
    assert made["events"] == [f"job.{state}" for state in ALL]
    secret = made.pop("secret")
    assert both.client.get(f"/v1/webhooks/{made['id']}").json() == made
    listed = both.client.get("/v1/webhooks")
    assert made in listed.json()["data"]
    assert secret not in listed.text


@pytest.mark.parametrize("body", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_can_be_sent(api: Any, body: Any) -> None:
    assert api.client.post("/v1/webhooks", json=body).status_code == 201


def test_the_request_of_the_documentation_can_be_sent(api: Any) -> None:
    page = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
    body = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert make(api, **body)["events"] == body["events"]


def test_a_secret_may_be_given_and_events_chosen(both: Any) -> None:
    secret = new_secret()
    made = make(both, secret=secret, events=["job.failed", "job.lost", "job.failed"])
    assert (made["secret"], made["events"]) == (secret, ["job.failed", "job.lost"])


def test_webhooks_are_listed_in_pages_and_deleted(both: Any) -> None:
    made = [make(both)["id"] for _ in range(3)]
    page = both.client.get("/v1/webhooks?limit=2").json()
    assert ([hook["id"] for hook in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
    page = both.client.get(f"/v1/webhooks?limit=1&after={made[1]}").json()
    assert [hook["id"] for hook in page["data"]] == [made[0]]
    assert both.client.delete(f"/v1/webhooks/{made[0]}").status_code == 204
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")]:
        answer = both.client.request(method, f"/v1/webhooks/{made[0]}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert both.client.get("/v1/webhooks?after=whk_x").status_code == 422


def test_a_repeated_request_makes_one_webhook_and_one_ping(both: Any) -> None:
    headers = {"Idempotency-Key": f"k-{new_secret()}"}
    answers = [both.client.post("/v1/webhooks", json={"url": URL}, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"
    other = both.client.post("/v1/webhooks", json={"url": URL + "x"}, headers=headers)
    assert other.json()["code"] == "idempotency_mismatch"
    path = f"/v1/webhooks/{answers[0].json()['id']}"
    pings = [both.client.post(f"{path}/test", headers=headers) for _ in range(2)]
    assert pings[0].json() == pings[1].json()
    assert len(both.client.get(f"{path}/deliveries").json()["data"]) == 1


def test_everything_that_is_wrong_is_named_at_once(strict: Any) -> None:
    answer = strict.client.post("/v1/webhooks", json={"url": "http://127.0.0.1/", "secret": "hunter2"})
    found = problems(answer)
    assert set(found) == {"url", "secret"}
    assert found["url"]["got"] == "http://127.0.0.1/"
    assert "public addresses only" in found["url"]["allowed"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ({"url": ""}, "url", "at least 1"),
        ({"url": "x" * 2001}, "url", "at most 2000"),
        ({"url": 1}, "url", "must be a string"),
        ({"url": "ftp://a.example"}, "url", "http"),
        ({"url": "http://me:hunter2@a.example"}, "url", "user name"),
        ({"events": []}, "events", "at least 1"),
        ({"events": ["job.exploded"]}, "events[0]", "must be"),
        ({"events": ["ping"]}, "events[0]", "must be"),
        ({"events": "job.failed"}, "events", "must be a list"),
        ({"secret": "whsec_aGk="}, "secret", "24 to 64"),
        ({"job": "job_x"}, "job", "form"),
        ({"job": "job_" + "0" * 26}, "job", "no job with this id"),
        ({"secert": "x"}, "secert", 'did you mean "secret"'),
    ],
)
def test_bad_input_is_named_by_its_path(api: Any, body: Any, path: str, message: str) -> None:
    answer = api.client.post("/v1/webhooks", json={"url": URL, **body})
    found = problems(answer)
    assert list(found) == [path]
    assert message in found[path]["message"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "[::ffff:10.0.0.1]"]
)
def test_addresses_that_are_not_public_are_refused(strict: Any, host: str) -> None:
    found = problems(strict.client.post("/v1/webhooks", json={"url": f"http://{host}:9/x"}))
    assert found["url"]["message"] == "leads to an address that is not public"


def test_a_host_without_an_address_may_get_one_later(strict: Any) -> None:
    assert make(strict, url="https://nobody.invalid/")["url"] == "https://nobody.invalid/"


def test_a_ping_arrives_and_tells_what_came_of_it(sending: Any, receiver: tuple[Receiver, str]) -> None:
    took, url = receiver
    made = make(sending, url=url)
    answer = sending.client.post(f"/v1/webhooks/{made['id']}/test")
    ping = answer.json()
    assert answer.status_code == 202
    assert (ping["object"], ping["event"], ping["state"], ping["attempts"]) == ("delivery", "ping", "pending", 0)
    assert (ping["job"], ping["sequence"]) == (None, None)
    assert ping["next_try_at"] is not None
    where = answer.headers["location"]

    def now() -> Any:
        return sending.client.get(where).json()

    assert eventually(lambda: now()["state"] == "delivered", 20)
    assert (now()["last_status"], now()["attempts"], now()["next_try_at"]) == (204, 1, None)
    (message,) = took.messages
    assert message.id == ping["id"]
    assert message.json["type"] == "ping"
    assert message.is_signed_with(made["secret"])
    assert sending.client.get(f"/v1/webhooks/{made['id']}/deliveries").json()["data"] == [now()]


def test_what_a_receiver_refuses_can_be_read(sending: Any, receiver: tuple[Receiver, str]) -> None:
    took, url = receiver
    took.otherwise = 500
    made = make(sending, url=url)
    where = sending.client.post(f"/v1/webhooks/{made['id']}/test").headers["location"]
    assert eventually(lambda: sending.client.get(where).json()["state"] == "failed", 20)
    failed = sending.client.get(where).json()
    assert (failed["attempts"], failed["last_status"]) == (2, 500)
    assert "500" in failed["last_error"]
    other = make(sending, url=url)["id"]
    assert sending.client.get(f"/v1/webhooks/{other}/deliveries/{failed['id']}").status_code == 404


def test_a_job_is_told_in_order_while_it_trains(sending: Any, receiver: tuple[Receiver, str], iris_csv: bytes) -> None:
    took, url = receiver
    made = make(sending, url=url)
    job = sending.submit(sending.spec(sending.upload(iris_csv)["id"]))["id"]
    one = make(sending, url=f"{url}/one", job=job, events=["job.succeeded"])
    make(sending, url=f"{url}/none", events=["job.failed"])
    sending.work(only=job)
    assert eventually(lambda: len(took.messages) == 4, 20)
    everything = [message for message in took.messages if message.path == "/"]
    assert [message.json["type"] for message in everything] == ["job.queued", "job.running", "job.succeeded"]
    assert all(message.is_signed_with(made["secret"]) for message in everything)
    sequences = [message.json["data"]["sequence"] for message in everything]
    assert sequences == sorted(set(sequences))
    (alone,) = [message for message in took.messages if message.path == "/one"]
    assert alone.is_signed_with(one["secret"])
    assert alone.json["data"]["model"] == sending.client.get(f"/v1/jobs/{job}").json()["model"]
    sending.client.delete(f"/v1/jobs/{job}")
    listed = sending.client.get(f"/v1/webhooks/{made['id']}/deliveries").json()["data"]
    assert [delivery["event"] for delivery in listed] == ["job.succeeded", "job.running", "job.queued"]
