"""What one attempt of a job puts together to train, and what it does from its checkpoint to its end."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch
from sqlalchemy.orm import Session

from service.errors import (
    CorruptBlob,
    DatasetGone,
    InvalidSpec,
    NonFiniteLoss,
    NotFound,
    Problem,
    TimeLimit,
)
from service.memory import TrainingMemory, size_in_words
from service.network import Network, build_network
from service.network.tokens import foreign_token
from service.settings import Settings
from service.spec import JobSpec
from service.store import datasets, events, jobs, models
from service.store.blobs import BlobWriter
from service.store.engine import Store
from service.store.tables import Job
from service.uncertainty.calibration import Calibration
from worker.data import TrainingData, load
from worker.device import choose_device, device_name
from worker.lease import Lease
from worker.training.cadence import Cadence
from worker.training.checkpoints import Checkpoints, Snapshot
from worker.training.loop import Interrupted
from worker.training.memory import told_apart
from worker.training.receipt import receipt
from worker.training.recorder import Recorder
from worker.training.tally import Units

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run comes to: measured values by split, calibration, bytes of the weights."""

    values: dict[str, Any]
    calibration: Calibration | None
    weights: bytes
    parameters: int
    """Of one network."""
    best_epoch: int | None = None
    members: int | None = None
    """Networks whose weights are stacked in the bytes; None: they are those of one network."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else the receipt says."""


class Runs(Protocol):
    """What is trained, and where it stands."""

    epoch: int
    step: int
    rows: int
    recorder: Recorder

    @property
    def rows_of_batch(self) -> int:
        """Rows of one batch."""

    @property
    def finished(self) -> bool:
        """True when there is nothing more to train."""

    @property
    def keeps(self) -> bool:
        """True at the end of an epoch whose checkpoint is to stay."""

    def run(self, between: Callable[[bool], None]) -> None:
        """Train to the end; `between` is called now and then between steps."""

    def snapshot(self) -> Snapshot:
        """Return this moment of the run."""


L = TypeVar("L", bound=Runs)


class Run(Generic[L]):
    """What one attempt puts together to train, from its checkpoint to its end; what exactly, its kinds say."""

    memory: TrainingMemory

    def __init__(self, store: Store, settings: Settings, job: Job, lease: Lease, slot: str) -> None:
        self.store, self.settings, self.job, self.lease = store, settings, job, lease
        self.began = time.monotonic()
        self.spec = JobSpec.model_validate(job.spec)
        self.device = choose_device(self.spec.training.device, slot)
        with told_apart(None, 0):
            self.data = self._load()
        self.loop: L = self._loop()
        self.checkpoints = Checkpoints(store, lease, settings.chunk_bytes)

    def train(self, first: bool) -> None:
        """Go on from the last checkpoint, or begin, as the `first` to train this job; train; finish."""
        with told_apart(self.memory, self.loop.rows_of_batch):
            if not first:
                self._resume()
            self._train()

    def _train(self) -> None:
        cadence = Cadence(self.spec.training, self.settings)

        self.lease.limit_step(self.spec.training.max_step_seconds)

        def between(epoch_ended: bool) -> None:
            self._check_time()
            wanted = cadence.due(self.loop.step, epoch_ended) or (epoch_ended and self.loop.keeps)
            if wanted and not self.loop.finished:
                self._checkpoint()

        try:
            self._pretrain()
            self.loop.run(between)
        except Interrupted:
            self._checkpoint()
            raise
        except NonFiniteLoss:
            # What led there is worth seeing; no checkpoint: the weights are spoilt.
            self.loop.recorder.flush(self.loop.epoch, self.loop.step, self.loop.rows)
            raise
        self._finish()

    def _check_time(self) -> None:
        limit = self.spec.training.max_seconds
        if limit is not None and time.monotonic() - self.began > limit and not self.loop.finished:
            self._checkpoint()
            done = f"{self.loop.epoch} of {self.spec.training.epochs} epochs are done"
            raise TimeLimit(f"The attempt took longer than training.max_seconds, {limit:g} s; {done}. Retry goes on.")

    def _load(self) -> TrainingData:
        try:
            with self.store.read() as session:
                dataset = datasets.get(session, self.job.dataset)
            return load(self.store, dataset, self.spec).to(self.device)
        except (NotFound, CorruptBlob) as error:
            raise DatasetGone(f"The data set {self.job.dataset} cannot be read: {error}") from error

    def _loop(self) -> L:
        """Return what trains."""
        raise NotImplementedError

    def _pretrain(self) -> None:
        """Do what comes before the first step."""
        raise NotImplementedError

    def _resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        raise NotImplementedError

    def _result(self) -> Result:
        """Return what the run came to."""
        raise NotImplementedError

    def _tell_of_the_end(self, session: Session) -> None:
        """Say what there is to say of how it ended."""
        raise NotImplementedError

    def _network(self) -> Network:
        """Return the network of the job on the meta device.

        Raises:
            InvalidSpec: The rows hold what are no tokens of it.
        """
        spec, data = self.spec, self.data
        shape, limit = data.input_shape, self.settings.max_parameters
        network = build_network(spec.network, spec.regularization, shape, data.outputs, limit, data.vocabulary)
        if (found := foreign_token(network, data.x)) is not None:
            row, value, tokens = found
            message = f"row {row} holds {value:g}, which is no token id: whole numbers from 0 to {tokens - 1}"
            raise InvalidSpec([Problem("network.layers[0].input_dim", message, tokens)])
        return network

    def _tell_of_the_start(self, rows: int, what: str = "") -> None:
        size, where = self.memory.of(rows), device_name(self.device)
        trained, kept = len(self.data.train), len(self.data.validation)
        message = f"Training{what} on {where} with {trained:,} rows, {kept:,} to validate; about {size_in_words(size)}."
        with self.lease.write() as session:
            data = {"device": where, "rows": trained, "validation_rows": kept, "memory_bytes": size}
            events.add(session, self.job.id, "training", message, attempt=self.job.attempt, data=data)

    def _units(self) -> Units | None:
        if self.data.target.classes is not None:
            return None
        scale, shift = (torch.tensor(v, dtype=torch.float64) for v in (self.data.target.scale, self.data.target.shift))
        return Units(scale.to(self.device), shift.to(self.device))

    def _checkpoint(self) -> None:
        self.checkpoints.save(self.loop.snapshot(), self.loop.recorder)

    def _finish(self) -> None:
        loop, lease = self.loop, self.lease
        snapshot = loop.snapshot()
        best, last = self.checkpoints.write_blobs(snapshot)
        found = self._result()
        weights = BlobWriter(self.store, self.settings.chunk_bytes)
        weights.write(found.weights)
        with lease.write(loop.recorder.progress(loop.epoch, loop.step, loop.rows)) as session:
            self.checkpoints.insert(session, snapshot, best, last)
            loop.recorder.drain(session)
            blob = weights.finish(session)
            seconds = time.monotonic() - self.began
            proof = receipt(self.job, self.data, self.device, blob.sha256, seconds)
            proof |= {"epochs": loop.epoch, "steps": loop.step, "best_epoch": found.best_epoch, **found.facts}
            model = models.insert(
                session,
                job=self.job.id,
                name=self.job.name,
                spec=self.job.spec,
                task=self.spec.loss.task,
                classes=self.data.classes,
                columns=self.data.columns,
                preprocessing=self.data.preprocessing(),
                metrics=found.values,
                calibration=found.calibration.to_json() if found.calibration else None,
                receipt=proof,
                weights=blob,
                parameters=found.parameters,
                members=found.members,
            )
            self._tell_of_the_end(session)
            if not jobs.succeed(session, self.job.id, self.job.attempt, model.id, proof):
                raise Interrupted(lease.wish or "cancel")
