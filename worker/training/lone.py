"""The training of one network: what its run is made of."""

from sqlalchemy.orm import Session

from service.blocks.schedules import Horizon
from service.memory import training_memory
from service.network import materialize, save_weights
from service.store import events
from service.summary import summarize
from service.uncertainty.monte_carlo import MonteCarlo
from worker.device import use_threads
from worker.training.batches import Batches
from worker.training.calibrate import calibration_of
from worker.training.loop import Loop
from worker.training.memory import told_apart
from worker.training.pretrain import pretrain
from worker.training.recorder import Recorder
from worker.training.run import Result, Run
from worker.training.start import start_from_sources
from worker.training.step import Step


class LoneRun(Run[Loop]):
    """The training of one network."""

    def _loop(self) -> Loop:
        spec, data = self.spec, self.data
        network = self._network()
        batches = Batches(data, spec.training, network.has_batch_norm)
        use_threads(summarize(network).multiply_adds * batches.rows_of_batch, self.settings.threads_of_a_job)
        self.memory = training_memory(network, spec, len(data.x))
        self._tell_of_the_start(batches.rows_of_batch)
        with told_apart(self.memory, batches.rows_of_batch):
            network = start_from_sources(self.store, materialize(network, spec.training.seed)).to(self.device)
        horizon = Horizon(batches.steps, batches.steps * spec.training.epochs)
        step = Step(network, spec, self.device, horizon, batches.rows_of_batch)
        recorder = Recorder(self.lease, spec.training.epochs, horizon.total_steps)
        return Loop(spec, network, data, batches, step, self.lease, recorder, spec.metrics, self._units())

    def _pretrain(self) -> None:
        loop, x = self.loop, self.data.x[self.data.train]
        for found in pretrain(self.spec, loop.network, x, loop.batches.rows_of_batch, loop.pretrained, loop.check_wish):
            loop.pretrained += 1
            self._checkpoint()
            first, last = found.errors[0], found.errors[-1]
            message = f"Pre-trained {found.layer}: its reconstruction error went from {first:.4g} to {last:.4g}."
            with self.lease.write() as session:
                data = {"layer": found.layer, "reconstruction_errors": found.errors}
                events.add(session, self.job.id, "pretrained", message, attempt=self.job.attempt, data=data)

    def _resume(self) -> None:
        found = self.checkpoints.resume()
        if found is not None:
            row, tensors, best = found
            self.loop.restore(row.state, tensors, best)

    def _result(self) -> Result:
        loop = self.loop
        values = dict(loop.restore_best())
        if len(self.data.test):
            values["test"] = loop.measure(self.data.test, loop.check_wish)
            loop.recorder.add("test", loop.epoch, loop.step, values["test"])
        loop.take_step.end()
        tile = self.settings.predict_tile_bytes
        return Result(
            values=values,
            calibration=calibration_of(MonteCarlo(loop.network), self.spec, self.data, tile, loop.check_wish),
            weights=save_weights(loop.network),
            parameters=loop.network.parameter_count,
            best_epoch=loop.stopping.best_epoch if loop.stopping and loop.best is not None else None,
        )

    def _tell_of_the_end(self, session: Session) -> None:
        stopping = self.loop.stopping
        if stopping and stopping.exhausted:
            message = f"Early stopping: {stopping.monitor} was best in epoch {stopping.best_epoch}."
            events.add(session, self.job.id, "early_stopping", message, attempt=self.job.attempt)
