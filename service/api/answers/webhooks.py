"""Answers about webhooks and their deliveries."""

from typing import Literal, Self

from service.api.answers.base import Answer, Count, JsonObject, Time
from service.store import webhook_tables

Event = Literal["job.queued", "job.running", "job.paused", "job.succeeded", "job.failed", "job.cancelled", "job.lost"]


class Webhook(Answer):
    """An address that is told when the state of a job changes."""

    id: str
    """Id of the webhook."""
    object: Literal["webhook"] = "webhook"
    """Always "webhook"."""
    url: str
    """Where the messages are sent."""
    events: list[Event]
    """What it is told of."""
    job: str | None
    """Id of the only job that it follows; null where it follows all."""
    created_at: Time
    """When it was made."""

    @classmethod
    def of(cls, row: webhook_tables.Webhook) -> Self:
        """Return the answer for a webhook's row."""
        return cls(id=row.id, url=row.url, events=row.events, job=row.job, created_at=row.created_at)


class NewWebhook(Webhook):
    """A webhook that has just been made, with the secret that no later answer holds."""

    secret: str
    """Key of the signatures; keep it, it is shown this once."""

    @classmethod
    def of(cls, row: webhook_tables.Webhook) -> Self:
        """Return the answer for a webhook's row."""
        return cls(**dict(Webhook.of(row)), secret=row.secret)


class Delivery(Answer):
    """A message to a webhook."""

    id: str
    """Id of the delivery; the receiver gets it as `webhook-id`, the same at every try."""
    object: Literal["delivery"] = "delivery"
    """Always "delivery"."""
    webhook: str
    """Id of the webhook."""
    event: Event | Literal["ping"]
    """What is told; `ping` where somebody only asked whether messages arrive."""
    job: str | None
    """Id of the job; null for `ping`."""
    sequence: Count | None
    """Number of the job's event; later ones have larger numbers."""
    data: JsonObject
    """What is told, as it was when it happened."""
    state: Literal["pending", "delivered", "failed"]
    """Whether it is to be sent yet, has been taken by the receiver, or was given up."""
    attempts: Count
    """Tries so far."""
    last_status: int | None
    """HTTP status of the last answer; null where none came."""
    last_error: str | None
    """What was wrong with the last try; null where nothing was."""
    next_try_at: Time | None
    """When it is tried again, at the earliest; null where it is not."""
    created_at: Time
    """When that which is told happened."""
    finished_at: Time | None
    """When it was taken or given up."""

    @classmethod
    def of(cls, row: webhook_tables.Delivery) -> Self:
        """Return the answer for a delivery's row."""
        return cls(
            id=row.id,
            webhook=row.webhook,
            event=row.event,  # type: ignore[arg-type]  # written from the same names
            job=row.job,
            sequence=row.sequence,
            data=row.data,
            state=row.state,  # type: ignore[arg-type]  # the table's check constraint has the same values
            attempts=row.attempts,
            last_status=row.last_status,
            last_error=row.last_error,
            next_try_at=row.next_at,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )
