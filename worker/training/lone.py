"""The training of one network: what its run is made of."""

from sqlalchemy.orm import Session

from service.blocks.schedules import Horizon
from service.network import materialize, save_weights
from service.store import events
from service.summary import summarize
from service.uncertainty.monte_carlo import MonteCarlo
from worker.crew.orders import Work
from worker.device import use_threads
from worker.training.batches import Batches
from worker.training.calibrate import calibration_of
from worker.training.loop import Loop
from worker.training.memory import told_apart
from worker.training.precision import Precision
from worker.training.pretrain import pretrain
from worker.training.recorder import Recorder
from worker.training.run import Run
from worker.training.start import start_from_sources
from worker.training.step import Step
from worker.training.tally import Units
from worker.training.trained import Arithmetic, Result


class LoneRun(Run[Loop]):
    """The training of one network, on one device or several."""

    _told_of_compilation = False

    def _loop(self) -> Loop:
        spec, data, network = self.spec, self.data, self.given.network
        batches = Batches(data, spec.training, network.has_batch_norm)
        work = summarize(network).multiply_adds * batches.rows_of_batch
        self._use_threads(work)
        self._tell_of_the_start(batches.rows_of_batch)
        with told_apart(self.memory, batches.rows_of_batch):
            network = start_from_sources(self.store, materialize(network, spec.training.seed)).to(self.device)
        horizon = Horizon(batches.steps, batches.steps * spec.training.epochs)
        precision = Precision.of(spec.training, self.device, work)
        step = Step(network, spec, self.device, horizon, batches.rows_of_batch, precision=precision, crew=self.crew)
        self.total_steps = horizon.total_steps
        if self.crew is not None:
            self.crew.begin(Work.of(spec, data, horizon, batches.rows_of_batch, precision.number))
        recorder = Recorder(self.lease, spec.training.epochs, horizon.total_steps, self.timings)
        units = Units.of(data.target, self.device)
        return Loop(spec, network, data, batches, step, self.lease, recorder, units)

    def _use_threads(self, work: int) -> None:
        number = len(self.devices)
        use_threads(work // number, max(1, self.settings.threads_of_a_job // number))

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

    def _tell_between(self) -> None:
        """Say once why steps are not compiled although the job asks for it."""
        reason = self.loop.engine.compile_failure
        if reason is None or self._told_of_compilation:
            return
        self._told_of_compilation = True
        message = f"The steps are not compiled, and run as usual: {reason}"
        with self.lease.write() as session:
            events.add(session, self.job.id, "compile_failed", message, attempt=self.job.attempt, level="warn")

    def _result(self) -> Result:
        loop, step = self.loop, self.loop.engine
        values = dict(loop.restore_best())
        if len(self.data.test):
            values["test"] = loop.measure("test", loop.check_wish)
            loop.recorder.add("test", loop.epoch, loop.step, values["test"])
        step.end()
        tile, monte_carlo = self.settings.predict_tile_bytes, MonteCarlo(loop.network)
        with self.timings.of("validation"):
            calibration = calibration_of(monte_carlo, self.spec, self.data, tile, loop.check_wish)
        skipped = step.scale.skipped if step.scale else None
        arithmetic = Arithmetic(step.precision.number, step.precision.tf32, step.compiled, skipped)
        return Result(
            values=values,
            calibration=calibration,
            weights=save_weights(loop.network),
            parameters=loop.network.parameter_count,
            facts=arithmetic.facts(),
            best_epoch=loop.stopping.best_epoch if loop.stopping and loop.best is not None else None,
            deterministic=not step.compiled,
        )

    def _tell_of_the_end(self, session: Session) -> None:
        stopping = self.loop.stopping
        if stopping and stopping.exhausted:
            message = f"Early stopping: {stopping.monitor} was best in epoch {stopping.best_epoch}."
            events.add(session, self.job.id, "early_stopping", message, attempt=self.job.attempt)
