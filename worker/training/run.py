"""What one attempt of a job puts together to train, and what it does from its checkpoint to its end."""

import logging
import time

import torch

from service.blocks.schedules import Horizon
from service.errors import NonFiniteLoss, TimeLimit
from service.memory import size_in_words
from service.network import materialize, save_weights
from service.settings import Settings
from service.spec import JobSpec
from service.store import events, jobs, models
from service.store.blobs import BlobWriter
from service.store.engine import Store
from service.store.tables import Job
from service.summary import summarize
from worker.device import choose_device, device_name, use_threads
from worker.lease import Lease, LeaseLost
from worker.training.batches import Batches
from worker.training.cadence import Cadence
from worker.training.calibrate import calibration_of
from worker.training.checkpoints import Checkpoints
from worker.training.given import given
from worker.training.loop import Interrupted, Loop
from worker.training.memory import told_apart
from worker.training.pretrain import pretrain
from worker.training.receipt import receipt
from worker.training.recorder import Recorder
from worker.training.start import start_from_sources
from worker.training.step import Step
from worker.training.tally import Units
from worker.training.tokens import check_tokens

log = logging.getLogger(__name__)


class Run:
    """What one attempt puts together to train."""

    def __init__(self, store: Store, settings: Settings, job: Job, lease: Lease, slot: str) -> None:
        self.store, self.settings, self.job, self.lease = store, settings, job, lease
        self.began = time.monotonic()
        self.spec = JobSpec.model_validate(job.spec)
        self.device = choose_device(self.spec.training.device, slot)
        with told_apart(None, 0):
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
        use_threads(summarize(network).multiply_adds * batches.rows_of_batch, self.settings.threads_of_a_job)
        self._tell_of_the_start(batches.rows_of_batch)
        with told_apart(self.memory, batches.rows_of_batch):
            network = start_from_sources(self.store, materialize(network, spec.training.seed)).to(self.device)
        horizon = Horizon(batches.steps, batches.steps * spec.training.epochs)
        step = Step(network, spec, self.device, horizon, batches.rows_of_batch)
        recorder = Recorder(self.lease, spec.training.epochs, horizon.total_steps)
        return Loop(spec, network, data, batches, step, self.lease, recorder, spec.metrics, self._units())

    def _tell_of_the_start(self, rows: int) -> None:
        size, where = self.memory.of(rows), device_name(self.device)
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

    def _units(self) -> Units | None:
        if self.data.target.classes is not None:
            return None
        scale, shift = (torch.tensor(v, dtype=torch.float64) for v in (self.data.target.scale, self.data.target.shift))
        return Units(scale.to(self.device), shift.to(self.device))

    def _resume(self) -> None:
        found = self.checkpoints.resume()
        if found is not None:
            row, tensors, best = found
            self.loop.restore(row.state, tensors, best)

    def _checkpoint(self) -> None:
        self.checkpoints.save(self.loop.snapshot(), self.loop.recorder)

    def _finish(self) -> None:
        loop, lease = self.loop, self.lease
        snapshot = loop.snapshot()
        best, last = self.checkpoints.write_blobs(snapshot)
        values = dict(loop.restore_best())
        if len(self.data.test):
            values["test"] = loop.measure(self.data.test, loop.check_wish)
            loop.recorder.add("test", loop.epoch, loop.step, values["test"])
        loop.take_step.end()
        tile = self.settings.predict_tile_bytes
        calibration = calibration_of(loop.network, self.spec, self.data, tile, loop.check_wish)
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
