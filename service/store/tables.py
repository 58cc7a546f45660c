"""The tables. Times are seconds since 1970 by the database's clock; JSON columns hold canonical values."""

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.store.clock import now

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
JOB_STATES = ("queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled")
BigKey = BigInteger().with_variant(Integer, "sqlite")
"""SQLite autoincrements only a column declared INTEGER."""
CLUSTERED = {"sqlite_with_rowid": False}
"""Rows lie in the order of their primary key, which is then no second index."""
QUEUED = text("status = 'queued'")
"""Of an index that holds the queued jobs alone, however many have ended."""


class Table(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {float: Double, dict[str, Any]: JSON, list[Any]: JSON, list[dict[str, Any]]: JSON}


class Chunk(Table):
    """Content-addressed bytes of at most `chunk_bytes`; shared by every blob that contains them."""

    __tablename__ = "chunks"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    # Raised whenever an upload finds the chunk present, so that collection never takes one that is about to be used.
    touched_at: Mapped[float] = mapped_column(server_default=now(), index=True)


class Blob(Table):
    """A file: the ordered list of its chunks, named by the SHA-256 of the whole."""

    __tablename__ = "blobs"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    # Raised whenever the blob is written again; collection leaves what was touched a short while ago.
    touched_at: Mapped[float] = mapped_column(server_default=now(), index=True)


class BlobChunk(Table):
    """Place `position` of a blob holds this chunk."""

    __tablename__ = "blob_chunks"
    __table_args__ = CLUSTERED
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    chunk: Mapped[str] = mapped_column(ForeignKey("chunks.sha256"), index=True)
    size: Mapped[int]


class Dataset(Table):
    """An uploaded file and what was found in it."""

    __tablename__ = "datasets"
    id_prefix: ClassVar[str] = "ds"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    format: Mapped[str] = mapped_column(String(16))
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    columns: Mapped[list[dict[str, Any]]]
    created_at: Mapped[float] = mapped_column(server_default=now())


class Job(Table):
    """A training run somebody asked for. `attempt` fences: a writer names the attempt it claimed."""

    __tablename__ = "jobs"
    id_prefix: ClassVar[str] = "job"
    __table_args__ = (
        CheckConstraint(f"status IN {JOB_STATES}", name="status"),
        Index("ix_jobs_status_id", "status", "id"),
        Index("ix_jobs_submitter_id", "submitter", "id"),
        # Holds all that the order of the queue follows from, so that a claim reads no job but the one it takes. The
        # status is the same in all of it, but without it SQLite takes the index above.
        Index(
            *("ix_jobs_queue", "status", "submitter", "priority", "device", "id"),
            sqlite_where=QUEUED,
            postgresql_where=QUEUED,
        ),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(16), server_default="queued")
    spec: Mapped[dict[str, Any]]
    spec_sha256: Mapped[str] = mapped_column(String(64), index=True)
    # No foreign key: a finished job outlives the data set it was trained on, and still names it.
    dataset: Mapped[str] = mapped_column(String(32), index=True)
    data_sha256: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(BigInteger)
    submitter: Mapped[str] = mapped_column(String(200), server_default="anonymous")
    priority: Mapped[int] = mapped_column(server_default="0")
    device: Mapped[str] = mapped_column(String(8), server_default="auto")
    attempt: Mapped[int] = mapped_column(server_default="0")
    lost: Mapped[int] = mapped_column(server_default="0")
    """Attempts that ended without a word: their worker died."""
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_expires_at: Mapped[float | None]
    epoch: Mapped[int] = mapped_column(server_default="0")
    step: Mapped[int] = mapped_column(BigInteger, server_default="0")
    total_epochs: Mapped[int | None]
    total_steps: Mapped[int | None] = mapped_column(BigInteger)
    samples_per_second: Mapped[float | None]
    eta_seconds: Mapped[float | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(String(32))
    receipt: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    timings: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Seconds of all attempts, by what they went into."""
    # No foreign key: a job outlives the record of the one that it goes on from.
    parent: Mapped[str | None] = mapped_column(String(32), index=True)
    created_at: Mapped[float] = mapped_column(server_default=now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Turn(Table):
    """When a submitter was last served: claims are numbered, later ones have larger numbers."""

    __tablename__ = "turns"
    submitter: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, unique=True)


class JobEvent(Table):
    """One line of a job's story. `id` orders the stream and is the SSE event id."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job_id", "job", "id"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int] = mapped_column(server_default="0")
    level: Mapped[str] = mapped_column(String(8), server_default="info")
    type: Mapped[str] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[float] = mapped_column(server_default=now())


class Checkpoint(Table):
    """Where a run can go on from. `last`, `best` and `kept` (asked for by the job) say why it is there."""

    __tablename__ = "checkpoints"
    id_prefix: ClassVar[str] = "ckpt"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    epoch: Mapped[int]
    step: Mapped[int] = mapped_column(BigInteger)
    last: Mapped[bool] = mapped_column(Boolean)
    best: Mapped[bool] = mapped_column(Boolean)
    kept: Mapped[bool] = mapped_column(Boolean, server_default=false())
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(server_default=now())


class Model(Table):
    """A trained network with everything needed to answer raw rows."""

    __tablename__ = "models"
    id_prefix: ClassVar[str] = "mdl"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    # No foreign key: a model outlives the record of the job that made it. Null: the model came as a file.
    job: Mapped[str | None] = mapped_column(String(32), unique=True)
    name: Mapped[str | None] = mapped_column(String(200))
    spec: Mapped[dict[str, Any]]
    task: Mapped[str] = mapped_column(String(16))
    classes: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    columns: Mapped[list[dict[str, Any]]]
    preprocessing: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    calibration: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    receipt: Mapped[dict[str, Any]]
    weights_sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[int] = mapped_column(BigInteger)
    # Networks whose weights are stacked in the blob; null: the weights are those of one.
    members: Mapped[int | None]
    created_at: Mapped[float] = mapped_column(server_default=now())


class Worker(Table):
    """A living worker process; `heartbeat_at` tells whether it still is."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    slots: Mapped[int]
    device: Mapped[str] = mapped_column(String(8), server_default="cpu")
    """The kind of device that all of its slots are on."""
    started_at: Mapped[float] = mapped_column(server_default=now())
    heartbeat_at: Mapped[float] = mapped_column(server_default=now())


class IdempotencyKey(Table):
    """A POST that was answered, or is being answered while `status` is null."""

    __tablename__ = "idempotency_keys"
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[int | None]
    body: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    location: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[float] = mapped_column(server_default=now())
