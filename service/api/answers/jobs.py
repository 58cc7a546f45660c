"""Answers about jobs: the job itself, its events, metrics and checkpoints."""

from typing import Any, Literal, Self

from service.api.answers.base import Answer, Count, JsonObject, Sha256, Time
from service.api.answers.queue import QueuePlace
from service.api.answers.timings import Timings
from service.store import tables
from service.store.waiting import Place

Status = Literal["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"]


class Progress(Answer):
    """How far a job has come."""

    epoch: Count
    """Epochs finished."""
    step: Count
    """Steps finished, over all epochs."""
    total_epochs: Count | None
    """Epochs that the job takes unless it stops early; null until it has started."""
    total_steps: Count | None
    """Steps that the job takes unless it stops early; null until it has started."""
    fraction: float
    """Share of the work done, 0 to 1; 1 when the job has succeeded, early or not."""
    samples_per_second: float | None
    """Training rows a second, lately."""
    eta_seconds: float | None
    """Seconds to go at this speed; 0 when the job has succeeded."""

    @classmethod
    def of(cls, job: tables.Job) -> Self:
        """Return the progress of a job's row."""
        done = job.step / job.total_steps if job.total_steps else 0.0
        succeeded = job.status == "succeeded"
        return cls(
            epoch=job.epoch,
            step=job.step,
            total_epochs=job.total_epochs,
            total_steps=job.total_steps,
            fraction=1.0 if succeeded else min(done, 1.0),
            samples_per_second=job.samples_per_second,
            eta_seconds=0.0 if succeeded else job.eta_seconds,
        )


class JobError(Answer):
    """Why a job failed."""

    code: str
    """Stable name of the kind of failure."""
    message: str
    """What happened, in words that a person can act on."""


class Job(Answer):
    """A training job."""

    id: str
    """Id of the job."""
    object: Literal["job"] = "job"
    """Always "job"."""
    name: str | None
    """Name for people."""
    status: Status
    """Where the job stands."""
    position: int | None
    """Place in the queue, 1 being next; null unless queued. The same as `queue.position`."""
    queue: QueuePlace | None
    """Where the job stands in the queue, and why it waits; null unless queued."""
    submitter: str
    """Whose job it is: `X-Trainyard-Submitter` of the request."""
    priority: int
    """Jobs with a higher priority are trained first."""
    spec: JsonObject
    """The specification with every default filled in."""
    spec_sha256: Sha256
    """Hash of what decides the result: the specification without the name, the priority and the data set's id."""
    data_sha256: Sha256
    """Hash of the data set's bytes; of images, together with the size and channels that they are read with."""
    dataset: str
    """Id of the data set."""
    seed: Count
    """Seed that everything random follows from."""
    model: str | None
    """Id of the trained model; null until the job has succeeded."""
    progress: Progress
    """How far the job has come."""
    timings: Timings | None
    """Where the time of the job went; null until it has begun."""
    attempt: Count
    """How many times a worker has taken the job up."""
    parent: str | None
    """Id of the job that this one goes on from; null where it began from the start."""
    error: JobError | None
    """Why the job failed; null unless it has."""
    receipt: JsonObject | None
    """What the result came from: hashes, seed, versions, device; null until the job has succeeded."""
    created_at: Time
    """When the job was submitted."""
    started_at: Time | None
    """When a worker first took it up."""
    finished_at: Time | None
    """When it reached a final status."""

    @classmethod
    def of(cls, job: tables.Job, place: Place | None = None) -> Self:
        """Return the answer for a job's row and its place in the queue."""
        failed = job.error_code is not None
        return cls(
            id=job.id,
            name=job.name,
            status=job.status,  # type: ignore[arg-type]  # the table's check constraint has the same values
            position=place.position if place else None,
            queue=QueuePlace.of(place) if place else None,
            submitter=job.submitter,
            priority=job.priority,
            spec=job.spec,
            spec_sha256=job.spec_sha256,
            data_sha256=job.data_sha256,
            dataset=job.dataset,
            seed=job.seed,
            model=job.model,
            progress=Progress.of(job),
            timings=Timings.model_validate(job.timings) if job.timings else None,
            attempt=job.attempt,
            parent=job.parent,
            error=JobError(code=job.error_code or "", message=job.error_message or "") if failed else None,
            receipt=job.receipt,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


class Event(Answer):
    """One line of a job's story."""

    id: int
    """Number of the event; later events have larger ones."""
    object: Literal["event"] = "event"
    """Always "event"."""
    job: str
    """Id of the job."""
    attempt: Count
    """The attempt it happened in; 0 before the first."""
    level: Literal["info", "warn", "error"]
    """How bad it is."""
    type: str
    """What kind of thing happened, for programs."""
    message: str
    """What happened, for people."""
    data: Any
    """More about it, or null."""
    created_at: Time
    """When it happened."""

    @classmethod
    def of(cls, event: tables.JobEvent) -> Self:
        """Return the answer for an event's row."""
        return cls.model_validate(event, from_attributes=True)


class Events(Answer):
    """Events of one job, oldest first."""

    object: Literal["list"] = "list"
    """Always "list"."""
    data: list[Event]
    """The events."""
    has_more: bool
    """Whether there are more; ask for them with `after` set to the last event's id."""


class Checkpoint(Answer):
    """A point that a run can go on from."""

    id: str
    """Id of the checkpoint."""
    object: Literal["checkpoint"] = "checkpoint"
    """Always "checkpoint"."""
    job: str
    """Id of the job."""
    attempt: Count
    """The attempt that wrote it."""
    epoch: Count
    """Epochs finished."""
    step: Count
    """Steps finished."""
    last: bool
    """Whether it is the newest, from which a lost run goes on."""
    best: bool
    """Whether it holds the best weights so far."""
    kept: bool
    """Whether the job asked for it to stay (`training.keep_every_epochs`)."""
    size: Count
    """Bytes of weights and optimizer state."""
    sha256: Sha256
    """Hash of those bytes."""
    metrics: JsonObject
    """What was measured at this point."""
    created_at: Time
    """When it was written."""

    @classmethod
    def of(cls, row: tables.Checkpoint) -> Self:
        """Return the answer for a checkpoint's row."""
        return cls(
            id=row.id, job=row.job, attempt=row.attempt, epoch=row.epoch, step=row.step, last=row.last, best=row.best,
            kept=row.kept, size=row.size, sha256=row.blob, metrics=row.metrics, created_at=row.created_at,
        )  # fmt: skip
