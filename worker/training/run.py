"""What one attempt of a job puts together to train, and what it does from its checkpoint to its end."""

import logging
import time
from contextlib import ExitStack, closing
from functools import partial

from service.blocks.schedules import Horizon
from service.failures import NonFiniteLoss, TimeLimit
from service.memory import size_in_words
from service.network import materialize, save_weights
from service.settings import Settings
from service.spec import JobSpec
from service.store import events, jobs, models
from service.store.blobs import BlobWriter
from service.store.engine import Store
from service.store.tables import Job
from service.summary import summarize
from worker.crew.burial import bury
from worker.crew.orders import Work
from worker.crew.owner import Owner
from worker.device import choose_devices, device_name, use_threads
from worker.lease import Interrupted, Lease, LeaseLost
from worker.training.batches import Batches
from worker.training.cadence import Cadence
from worker.training.calibrate import calibration_of
from worker.training.checkpoints import Checkpoints
from worker.training.given import given
from worker.training.loop import Loop
from worker.training.memory import told_apart
from worker.training.precision import Precision
from worker.training.pretrain import pretrain
from worker.training.profiling import Profiler
from worker.training.receipt import receipt
from worker.training.recorder import Recorder
from worker.training.start import start_from_sources
from worker.training.step import Step
from worker.training.tally import Units
from worker.training.timings import Timings
from worker.training.tokens import check_tokens
from worker.training.traces import keep_trace, wants_trace

log = logging.getLogger(__name__)


class Run:
    """What one attempt puts together to train."""

    def __init__(
        self, store: Store, settings: Settings, job: Job, lease: Lease, slot: str, processes: ExitStack
    ) -> None:
        """Get ready on the devices of a slot; what helps is on the stack of `processes`, and gone when that ends."""
        self.store, self.settings, self.job, self.lease = store, settings, job, lease
        self.began = time.monotonic()
        self._told_of_compilation = False
        self.spec = JobSpec.model_validate(job.spec)
        self.devices = choose_devices(self.spec.training.device, slot, self.spec.training.devices)
        self.device = self.devices[0]
        buried = partial(bury, store, job, len(self.devices), settings.max_attempts)
        self.crew = processes.enter_context(Owner(self.devices, buried)) if len(self.devices) > 1 else None
        self.timings = Timings()
        with told_apart(None, 0), self.timings.of("data"):
            self.given = given(store, settings, job, self.spec, self.device, self._check_wish)
        self.data, self.memory = self.given.data, self.given.memory
        self.loop = self._loop()
        self.checkpoints = Checkpoints(store, lease, settings.chunk_bytes)

    def train(self, first: bool) -> None:
        """Go on from the last checkpoint, or begin, as the `first` to train this job; train; finish."""
        with told_apart(self.memory, self.loop.batches.rows_of_batch):
            if not first:
                self._resume()
            self._train()

    def _train(self) -> None:
        cadence = Cadence(self.spec.training, self.settings)

        self.lease.limit_step(self.spec.training.max_step_seconds)

        def between(epoch_ended: bool) -> None:
            self._check_time()
            self._tell_of_compilation()
            self._keep_trace()
            wanted = cadence.due(self.loop.step, epoch_ended) or (epoch_ended and self.loop.keeps)
            if wanted and not self.loop.finished:
                self._checkpoint()

        try:
            self._pretrain()
            self._trace()
            with self.timings.of("step"), closing(self.loop.take_step):
                self.loop.run(between)
        except Interrupted:
            self._checkpoint()
            raise
        except NonFiniteLoss:
            # What led there is worth seeing; no checkpoint: the weights are spoilt.
            self.loop.recorder.flush(self.loop.epoch, self.loop.step, self.loop.rows)
            raise
        self._finish()

    def _tell_of_compilation(self) -> None:
        """Say once why steps are not compiled although the job asks for it."""
        reason = self.loop.take_step.compile_failure
        if reason is None or self._told_of_compilation:
            return
        self._told_of_compilation = True
        message = f"The steps are not compiled, and run as usual: {reason}"
        with self.lease.write() as session:
            events.add(session, self.job.id, "compile_failed", message, attempt=self.job.attempt, level="warn")

    def _trace(self) -> None:
        if self.spec.training.profile and wants_trace(self.store, self.job.id):
            step = self.loop.take_step
            step.profiler = Profiler(step.horizon.total_steps - self.loop.step, self.device)

    def _keep_trace(self) -> None:
        profiler = self.loop.take_step.profiler
        if profiler is not None and self.loop.finished:
            profiler.end()
        if profiler is not None and profiler.ready:
            self.loop.take_step.profiler = None
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

    def _loop(self) -> Loop:
        spec, data, network = self.spec, self.data, self.given.network
        check_tokens(network, data)
        batches = Batches(data, spec.training, network.has_batch_norm)
        work = summarize(network).multiply_adds * batches.rows_of_batch
        self._use_threads(work)
        self._tell_of_the_start(batches.rows_of_batch)
        with told_apart(self.memory, batches.rows_of_batch):
            network = start_from_sources(self.store, materialize(network, spec.training.seed)).to(self.device)
        horizon = Horizon(batches.steps, batches.steps * spec.training.epochs)
        precision = Precision.of(spec.training, self.device, work)
        step = Step(network, spec, self.device, horizon, batches.rows_of_batch, precision=precision, crew=self.crew)
        if self.crew is not None:
            self.crew.begin(Work.of(spec, data, horizon, batches.rows_of_batch, precision.number))
        recorder = Recorder(self.lease, spec.training.epochs, horizon.total_steps, self.timings)
        units = Units.of(data.target, self.device)
        return Loop(spec, network, data, batches, step, self.lease, recorder, spec.metrics, units)

    def _use_threads(self, work: int) -> None:
        number = len(self.devices)
        use_threads(work // number, max(1, self.settings.threads_of_a_job // number))

    def _tell_of_the_start(self, rows: int) -> None:
        size, where = self.memory.of(rows), device_name(self.device, len(self.devices))
        trained, kept = len(self.data.train), len(self.data.validation)
        message = f"Training on {where} with {trained:,} rows, {kept:,} to validate; about {size_in_words(size)}."
        if self.data.streamed:
            message += f" Data are streamed from the disk, {size_in_words(self.memory.disk_bytes)}."
        with self.lease.write() as session:
            data = {"device": where, "rows": trained, "validation_rows": kept, "memory_bytes": size}
            data |= {"data": self.given.place, "data_bytes": self.given.size}
            events.add(session, self.job.id, "training", message, attempt=self.job.attempt, data=data)

    def _pretrain(self) -> None:
        if self.spec.pretrain is None:
            return
        loop, x = self.loop, self.data.rows(self.data.train).x
        for found in pretrain(self.spec, loop.network, x, loop.batches.rows_of_batch, loop.pretrained, loop.check_wish):
            loop.pretrained += 1
            self._checkpoint()
            first, last = found.errors[0], found.errors[-1]
            message = f"Pre-trained {found.layer}: its reconstruction error went from {first:.4g} to {last:.4g}."
            with self.lease.write() as session:
                data = {"layer": found.layer, "reconstruction_errors": found.errors}
                events.add(session, self.job.id, "pretrained", message, attempt=self.job.attempt, data=data)

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
        values = dict(loop.restore_best())
        if len(self.data.test):
            values["test"] = loop.measure(self.data.test, loop.check_wish)
            loop.recorder.add("test", loop.epoch, loop.step, values["test"])
        loop.take_step.end()
        tile = self.settings.predict_tile_bytes
        with self.timings.of("validation"):
            calibration = calibration_of(loop.network, self.spec, self.data, tile, loop.check_wish)
        self.timings.enter("checkpoint")
        weights = BlobWriter(self.store, self.settings.chunk_bytes)
        weights.write(save_weights(loop.network))
        with lease.write(loop.recorder.progress(loop.epoch, loop.step, loop.rows)) as session:
            self.checkpoints.insert(session, snapshot, best, last)
            loop.recorder.drain(session)
            blob = weights.finish(session)
            proof = receipt(self.job, loop, self.device, blob.sha256, time.monotonic() - self.began)
            model = models.insert(
                session,
                job=self.job.id,
                name=self.job.name,
                spec=self.job.spec,
                task=self.spec.loss.task,
                classes=self.data.classes,
                columns=self.data.columns,
                preprocessing=self.data.preprocessing(),
                metrics=values,
                calibration=calibration.to_json() if calibration else None,
                receipt=proof,
                weights=blob,
                parameters=loop.network.parameter_count,
            )
            if loop.stopping and loop.stopping.exhausted:
                message = f"Early stopping: {loop.stopping.monitor} was best in epoch {loop.stopping.best_epoch}."
                events.add(session, self.job.id, "early_stopping", message, attempt=self.job.attempt)
            if not jobs.succeed(session, self.job.id, self.job.attempt, model.id, proof):
                raise Interrupted(lease.wish or "cancel")
