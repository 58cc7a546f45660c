"""What one attempt of a job puts together to train, and what it does from its checkpoint to its end."""

import time
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Generic, TypeVar

from sqlalchemy.orm import Session

from service.failures import NonFiniteLoss, TimeLimit
from service.memory import size_in_words
from service.settings import Settings
from service.spec import JobSpec
from service.store import events, jobs, models
from service.store.blobs import BlobWriter
from service.store.engine import Store
from service.store.tables import Job
from worker.crew.burial import bury
from worker.crew.owner import Owner
from worker.device import choose_devices, device_name
from worker.lease import Interrupted, Lease, LeaseLost
from worker.training.cadence import Cadence
from worker.training.checkpoints import Checkpoints
from worker.training.epochs import Epochs
from worker.training.given import given
from worker.training.memory import told_apart
from worker.training.profiling import Profiler
from worker.training.receipt import receipt
from worker.training.timings import Timings
from worker.training.tokens import check_tokens
from worker.training.traces import keep_trace, wants_trace
from worker.training.trained import Result

L = TypeVar("L", bound=Epochs[Any, Any])


class Run(Generic[L]):
    """What one attempt puts together to train, from its checkpoint to its end; what exactly, its kinds say."""

    total_steps: int
    """Steps of all epochs."""

    def __init__(
        self, store: Store, settings: Settings, job: Job, lease: Lease, slot: str, processes: ExitStack
    ) -> None:
        """Get ready on the devices of a slot; what helps is on the stack of `processes`, and gone when that ends."""
        self.store, self.settings, self.job, self.lease = store, settings, job, lease
        self.began = time.monotonic()
        self.spec = JobSpec.model_validate(job.spec)
        self.devices = choose_devices(self.spec.training.device, slot, self.spec.training.devices)
        self.device = self.devices[0]
        buried = partial(bury, store, job, len(self.devices), settings.max_attempts)
        self.crew = processes.enter_context(Owner(self.devices, buried)) if len(self.devices) > 1 else None
        self.timings = Timings()
        self.profiler: Profiler | None = None
        with told_apart(None, 0), self.timings.of("data"):
            self.given = given(store, settings, job, self.spec, self.device, self._check_wish)
        self.data, self.memory = self.given.data, self.given.memory
        check_tokens(self.given.network, self.data)
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
            self._tell_between()
            self._keep_trace()
            wanted = cadence.due(self.loop.step, epoch_ended) or (epoch_ended and self.loop.keeps)
            if wanted and not self.loop.finished:
                self._checkpoint()

        try:
            self._pretrain()
            self._trace()
            with self.timings.of("step"), closing(self.loop):
                self.loop.run(between)
        except Interrupted:
            self._checkpoint()
            raise
        except NonFiniteLoss:
            # What led there is worth seeing; no checkpoint: the weights are spoilt.
            self.loop.recorder.flush(self.loop.epoch, self.loop.step, self.loop.rows)
            raise
        self._finish()

    def _trace(self) -> None:
        if self.spec.training.profile and wants_trace(self.store, self.job.id):
            self._show_steps(Profiler(self.total_steps - self.loop.step, self.device))

    def _keep_trace(self) -> None:
        profiler = self.profiler
        if profiler is not None and self.loop.finished:
            profiler.end()
        if profiler is not None and profiler.ready:
            self._show_steps(None)
            with self.timings.of("other"):
                keep_trace(self.store, self.lease, profiler, self.settings.chunk_bytes)

    def _check_time(self) -> None:
        limit = self.spec.training.max_seconds
        if limit is not None and time.monotonic() - self.began > limit and not self.loop.finished:
            self._checkpoint()
            done = f"{self.loop.epoch} of {self.spec.training.epochs} epochs are done"
            raise TimeLimit(f"The attempt took longer than training.max_seconds, {limit:g} s; {done}. Retry goes on.")

    def _check_wish(self) -> None:
        wish = self.lease.wish
        if wish == "fenced":
            raise LeaseLost(self.job.id)
        if wish is not None:
            raise Interrupted(wish)

    def _loop(self) -> L:
        """Return what trains."""
        raise NotImplementedError

    def _pretrain(self) -> None:
        """Do what comes before the first step."""
        raise NotImplementedError

    def _show_steps(self, profiler: Profiler | None) -> None:
        """Have a profiler told of every step from here on, or none."""
        self.profiler = self.loop.profiler = profiler

    def _tell_between(self) -> None:
        """Say what there is to say between two steps."""

    def _result(self) -> Result:
        """Return what the run came to."""
        raise NotImplementedError

    def _tell_of_the_end(self, session: Session) -> None:
        """Say what there is to say of how it ended."""
        raise NotImplementedError

    def _tell_of_the_start(self, rows: int, what: str = "") -> None:
        size, where = self.memory.of(rows), device_name(self.device, len(self.devices))
        trained, kept = len(self.data.train), len(self.data.validation)
        message = f"Training{what} on {where} with {trained:,} rows, {kept:,} to validate; about {size_in_words(size)}."
        if self.data.streamed:
            message += f" Data are streamed from the disk, {size_in_words(self.memory.disk_bytes)}."
        with self.lease.write() as session:
            data = {"device": where, "rows": trained, "validation_rows": kept, "memory_bytes": size}
            data |= {"data": self.given.place, "data_bytes": self.given.size}
            events.add(session, self.job.id, "training", message, attempt=self.job.attempt, data=data)

    def _resume(self) -> None:
        with self.store.read() as session:
            self.timings.add(jobs.get(session, self.job.id).timings)
        found = self.checkpoints.resume()
        if found is not None:
            row, tensors, best = found
            self.loop.restore(row.state, tensors, best)

    def _checkpoint(self) -> None:
        with self.timings.of("checkpoint"):
            self.checkpoints.save(self.loop.snapshot(), self.loop.recorder)

    def _finish(self) -> None:
        loop, lease = self.loop, self.lease
        with self.timings.of("checkpoint"):
            snapshot = loop.snapshot()
            best, last = self.checkpoints.write_blobs(snapshot)
        found = self._result()
        self.timings.enter("checkpoint")
        weights = BlobWriter(self.store, self.settings.chunk_bytes)
        weights.write(found.weights)
        with lease.write(loop.recorder.progress(loop.epoch, loop.step, loop.rows)) as session:
            self.checkpoints.insert(session, snapshot, best, last)
            loop.recorder.drain(session)
            blob = weights.finish(session)
            proof = receipt(self.job, self.spec, self.data, self.device, blob.sha256, found)
            proof |= {"epochs": loop.epoch, "steps": loop.step, "seconds": round(time.monotonic() - self.began, 3)}
            proof |= {"timings": self.timings.values()}
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
