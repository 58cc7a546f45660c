"""The training of several networks of one job together: what its run is made of, and the ensemble that comes of it."""

import safetensors.torch
from sqlalchemy.orm import Session

from service.blocks.schedules import Horizon
from service.network import Network
from service.network.beliefs import belief_stack
from service.store import events
from service.summary import summarize
from service.uncertainty.ensembles import Ensemble
from worker.device import use_threads
from worker.packed.batches import PackedBatches
from worker.packed.choice import builder
from worker.packed.finished import Finished
from worker.packed.loop import PackedLoop
from worker.packed.member import Member
from worker.packed.roster import mean_values
from worker.packed.turns import ByTurns
from worker.packed.variants import replicas_of
from worker.training.calibrate import calibration_of
from worker.training.checkpoints import cpu
from worker.training.memory import told_apart
from worker.training.pretrain import pretrain
from worker.training.recorder import Recorder
from worker.training.run import Run
from worker.training.start import start_from_sources
from worker.training.tally import Units
from worker.training.trained import Result


class PackedRun(Run[PackedLoop]):
    """The training of replicas: networks that differ in their seeds."""

    def _loop(self) -> PackedLoop:
        spec, data = self.spec, self.data
        network = self.given.network
        variants = replicas_of(spec, data, spec.replicas)
        batches = PackedBatches(variants, network.has_batch_norm)
        work = summarize(network).multiply_adds * batches.rows_of_batch
        use_threads(work * len(variants), self.settings.threads_of_a_job)
        horizon = Horizon(batches.steps, batches.steps * spec.training.epochs)
        self.total_steps = horizon.total_steps
        with told_apart(self.memory, batches.rows_of_batch):
            build, why = builder(variants, network, self._start, self.device, horizon, batches.rows_of_batch)
            how = f", one after the other because {why}," if why else " together"
            self._tell_of_the_start(batches.rows_of_batch, f" {len(variants)} networks{how}")
            recorder = Recorder(self.lease, spec.training.epochs, horizon.total_steps, self.timings)
            units = Units.of(data.target, self.device)
            return PackedLoop(variants, build, self.lease, recorder, units, self._tell_of_failure)

    def _start(self, network: Network) -> None:
        start_from_sources(self.store, network)

    def _pretrain(self) -> None:
        loop, pack = self.loop, self.loop.engine
        if self.spec.pretrain is None or not isinstance(pack, ByTurns):
            return
        x = self.data.rows(self.data.train).x
        for network, variant in zip(pack.networks(), pack.variants, strict=True):
            layers = len(belief_stack(self.spec.network, network))
            done = min(layers, max(0, loop.pretrained - variant.number * layers))
            for found in pretrain(variant.spec, network, x, loop.rows_of_batch, done, loop.check_wish):
                loop.pretrained += 1
                self._checkpoint()
                message = f"Pre-trained {found.layer} of replica {variant.number}."
                with self.lease.write() as session:
                    data = {"layer": found.layer, "reconstruction_errors": found.errors, "replica": variant.number}
                    events.add(session, self.job.id, "pretrained", message, attempt=self.job.attempt, data=data)

    def _result(self) -> Result:
        loop, members = self.loop, self.loop.roster.sound
        weights = loop.roster.final_weights(loop.engine)
        ensemble = Ensemble(loop.roster.variants.build(0), weights)
        values = mean_values([member.final_values() for member in members])
        if len(self.data.test):
            finished = Finished(loop.roster.variants.take([member.number for member in members]), ensemble)
            found = finished.measure("test", loop.measured, loop.check_wish)
            by_number = {member.number: own for member, own in zip(members, found, strict=True)}
            loop.recorder.add_members("test", loop.epoch, loop.step, by_number)
            values |= mean_values([{"test": own} for own in found])
        tile = self.settings.predict_tile_bytes
        with self.timings.of("validation"):
            calibration = calibration_of(ensemble, self.spec, self.data, tile, loop.check_wish)
        return Result(
            values=values,
            calibration=calibration,
            weights=safetensors.torch.save(cpu(weights)),
            parameters=self.given.network.parameter_count,
            facts=loop.engine.arithmetic.facts() | self._facts(),
            members=len(members),
        )

    def _facts(self) -> dict[str, object]:
        """Return what became of each network, as JSON values."""
        members = self.loop.roster.members
        each = [
            {
                "replica": member.number,
                "seed": member.variant.seed,
                "epochs": member.epochs,
                "best_epoch": member.stopping.best_epoch if member.stopping and member.best_values else None,
                **({"left_out": member.failure} if member.failure else {}),
            }
            for member in members
        ]
        return {"replicas": each}

    def _tell_of_the_end(self, session: Session) -> None:
        for member in self.loop.roster.members:
            if member.ended and member.stopping:
                best = f"{member.stopping.monitor} was best in epoch {member.stopping.best_epoch}"
                message = f"Early stopping of replica {member.number} after {member.epochs} epochs: {best}."
                data = {"replica": member.number}
                events.add(session, self.job.id, "early_stopping", message, attempt=self.job.attempt, data=data)

    def _tell_of_failure(self, member: Member) -> None:
        message = f"Replica {member.number} is left out. {member.failure}"
        with self.lease.write() as session:
            data = {"replica": member.number, "seed": member.variant.seed}
            events.add(
                session, self.job.id, "replica_failed", message, attempt=self.job.attempt, level="warn", data=data
            )
