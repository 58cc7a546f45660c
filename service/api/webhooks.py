"""`/v1/webhooks`: who is told of changes of state, and what came of telling them."""

import hashlib
from collections.abc import Callable
from typing import Annotated, get_args

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from sqlalchemy.orm import Session

from service.api.answers.webhooks import Delivery, Event, NewWebhook, Webhook
from service.api.bodies import read_json
from service.api.deps import Backend, JsonBody, Service, known_query
from service.api.idempotency import Idempotency, Once, Reply
from service.api.openapi import BODY_ERRORS, errors, json_request, links
from service.api.pagination import AfterDelivery, AfterWebhook, Limit, Page
from service.api.parameters import ID, DeliveryId, WebhookId
from service.blocks.base import Strict
from service.errors import IdempotencyMismatch, InvalidInput, NotFound, Problem, RequestInFlight
from service.store import deliveries, jobs, outbox, webhooks
from service.webhooks import signing
from service.webhooks.addresses import ALLOWED, LONGEST_URL, Refused, Unresolved, addresses_of, read_url

LOOKUP_SECONDS = 3.0
"""How long the look-up of a new webhook's host is waited for; whatever it is, it is looked up again before sending."""
EXAMPLES = {
    "the end of every job": {
        "url": "https://hooks.example.com/trainyard",
        "events": ["job.succeeded", "job.failed", "job.cancelled"],
    },
    "everything": {"url": "https://hooks.example.com/trainyard"},
}
USES = links("webhook_id", "get_webhook", "test_webhook", "list_deliveries", "delete_webhook")

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], dependencies=[Depends(known_query)])


class WebhookRequest(Strict):
    """Whom to tell of what."""

    url: Annotated[str, Field(min_length=1, max_length=LONGEST_URL)]
    """Where to send the messages: http or https, a host with public addresses only, no user name or password."""
    events: Annotated[list[Event], Field(min_length=1, max_length=len(get_args(Event)))] = list(get_args(Event))
    """What to tell; default: every change of state."""
    secret: str | None = None
    """Key of the signatures, `whsec_` and the base64 of 24 to 64 random bytes; default: one is made."""
    job: Annotated[str, Field(pattern=f"^job_{ID}")] | None = None
    """Id of the only job to tell of; default: all jobs."""


@router.post(
    "",
    status_code=201,
    response_model=NewWebhook,
    summary="Add a webhook",
    responses={201: USES, **errors(*BODY_ERRORS, InvalidInput, IdempotencyMismatch, RequestInFlight)},
    openapi_extra=json_request(WebhookRequest, "Where to send what.", EXAMPLES),
)
def create_webhook(service: Service, body: JsonBody, once: Idempotency) -> Response:
    """Have a URL told of what happens to jobs from now on. The answer alone holds the secret of the signatures."""
    fingerprint = once.fingerprint(hashlib.sha256(body).hexdigest())
    once.recall()
    if earlier := once.replay(fingerprint):
        return earlier.response()
    request = read_json(body, WebhookRequest)
    if problems := [*_url_problems(service, request.url), *_secret_problems(request.secret)]:
        raise InvalidInput(problems)
    return _once(service, once, fingerprint, lambda session: _insert(session, request))


@router.get("", summary="List webhooks", responses=errors(InvalidInput))
def list_webhooks(service: Service, limit: Limit = 20, after: AfterWebhook = None) -> Page[Webhook]:
    """Return the webhooks, newest first, without their secrets."""
    with service.store.read() as session:
        return Page.of(webhooks.list_page(session, limit, after), Webhook.of)


@router.get("/{webhook_id}", summary="Get a webhook", responses=errors(NotFound, InvalidInput))
def get_webhook(service: Service, webhook_id: WebhookId) -> Webhook:
    """Return one webhook, without its secret."""
    with service.store.read() as session:
        return Webhook.of(webhooks.get(session, webhook_id))


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook", responses=errors(NotFound, InvalidInput))
def delete_webhook(service: Service, webhook_id: WebhookId) -> None:
    """Delete a webhook with its deliveries; what is not yet sent never will be."""
    with service.store.begin() as session:
        webhooks.delete(session, webhook_id)


@router.post(
    "/{webhook_id}/test",
    status_code=202,
    response_model=Delivery,
    summary="Test a webhook",
    responses=errors(NotFound, InvalidInput, IdempotencyMismatch, RequestInFlight),
)
def test_webhook(service: Service, webhook_id: WebhookId, once: Idempotency) -> Response:
    """Send a `ping`, as every other message is sent; the delivery that is answered tells later what came of it."""

    def ping(session: Session) -> Reply:
        row = outbox.ping(session, webhooks.get(session, webhook_id))
        location = f"/v1/webhooks/{webhook_id}/deliveries/{row.id}"
        return Reply(202, Delivery.of(row).model_dump(mode="json"), location)

    return _once(service, once, once.fingerprint(""), ping)


@router.get("/{webhook_id}/deliveries", summary="List deliveries", responses=errors(NotFound, InvalidInput))
def list_deliveries(
    service: Service, webhook_id: WebhookId, limit: Limit = 20, after: AfterDelivery = None
) -> Page[Delivery]:
    """Return the messages to a webhook, newest first; those that have ended are forgotten after a week."""
    with service.store.read() as session:
        webhooks.get(session, webhook_id)
        return Page.of(deliveries.list_page(session, webhook_id, limit, after), Delivery.of)


@router.get(
    "/{webhook_id}/deliveries/{delivery_id}", summary="Get a delivery", responses=errors(NotFound, InvalidInput)
)
def get_delivery(service: Service, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
    """Return one message to a webhook: its state, the tries so far, the last answer and the next try."""
    with service.store.read() as session:
        return Delivery.of(deliveries.get(session, webhook_id, delivery_id))


def _once(service: Backend, once: Once, fingerprint: str, work: Callable[[Session], Reply]) -> Response:
    with service.store.begin() as session:
        reply = once.take(session, fingerprint)
        if reply is None:
            reply = work(session)
            once.finish(session, fingerprint, reply)
    return reply.response()


def _insert(session: Session, request: WebhookRequest) -> Reply:
    if request.job is not None:
        _check_job(session, request.job)
    secret = signing.new_secret() if request.secret is None else request.secret
    events = list(dict.fromkeys(request.events))
    row = webhooks.insert(session, url=request.url, events=events, secret=secret, job=request.job)
    return Reply(201, NewWebhook.of(row).model_dump(mode="json"), f"/v1/webhooks/{row.id}")


def _url_problems(service: Backend, text: str) -> list[Problem]:
    """Return what forbids a URL. A host without an address is no problem: it may get one before the first message."""
    private = service.settings.webhook_allow_private
    try:
        url = read_url(text)
        if not private:
            addresses_of(url, private, LOOKUP_SECONDS)
    except Unresolved:
        return []
    except Refused as error:
        shown = None if "@" in text else text  # what stands before it may be a password
        return [Problem("url", str(error), shown, ALLOWED)]
    return []


def _secret_problems(secret: str | None) -> list[Problem]:
    try:
        if secret is not None:
            signing.key_of(secret)
    except ValueError as error:
        return [Problem("secret", str(error), None, signing.FORM)]
    return []


def _check_job(session: Session, job_id: str) -> None:
    try:
        jobs.get(session, job_id)
    except NotFound as error:
        problem = Problem("job", "there is no job with this id", job_id, "the id of a job")
        raise InvalidInput([problem]) from error
