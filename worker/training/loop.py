"""The epochs of one network."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from service.network import Network
from service.spec import JobSpec
from worker.lease import Lease
from worker.rows import Batch, TrainingData
from worker.training.averaging import WeightAverage
from worker.training.batches import Batches
from worker.training.checkpoints import AVERAGE, MODEL, Snapshot, Tensors, cpu, pack, part, unpack
from worker.training.epochs import Epochs
from worker.training.evaluate import evaluate, rows_at_once
from worker.training.finite import not_finite
from worker.training.plateau import Plateau
from worker.training.recorder import Recorder
from worker.training.step import Step
from worker.training.stopping import Stopping
from worker.training.tally import Measure, Tally, Units

Values = dict[str, Any]
"""Loss and metrics by name."""


class Loop(Epochs[float, Values]):
    """Trains a network."""

    engine: Step

    def __init__(
        self,
        spec: JobSpec,
        network: Network,
        data: TrainingData,
        batches: Batches,
        step: Step,
        lease: Lease,
        recorder: Recorder,
        units: Units | None,
    ) -> None:
        super().__init__(spec, data, lease, recorder)
        self.network, self.batches, self.engine = network, batches, step
        self._rows_at_once = rows_at_once(network, batches.rows_of_batch)
        self.measured = Measure(spec.loss, self.metrics, units, records=self.device.type == "cpu")
        self.tally = self._tally()
        self.stopping = Stopping.of(spec, self.metrics, len(data.validation) > 0)
        self.plateau = Plateau.of(spec, self.metrics, len(data.validation) > 0)
        averaging = spec.training.averaging
        self.average = WeightAverage(averaging, network, step.horizon) if averaging else None
        self.values: dict[str, Values] = {}
        self.best: Tensors | None = None
        self.best_step = 0
        self.best_values: dict[str, Values] = {}

    @property
    def finished(self) -> bool:
        """True when all epochs are trained or patience has run out."""
        return super().finished or bool(self.stopping and self.stopping.exhausted)

    @property
    def _networks(self) -> int:
        return 1

    def _tally(self) -> Tally:
        return Tally(self.measured)

    def _step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        found = super()._step(batch)
        if self.average:
            self.average.after_step(self.step + 1)
        return found

    def _finite(self, losses: Tensor, first: int) -> Iterator[float]:
        for step, loss in enumerate(losses.tolist(), first):
            if not math.isfinite(loss):
                raise not_finite("loss", loss, step, self.epoch)
            yield loss

    def _of_step(self, mean: float, step: int) -> Values:
        return {"batch_loss": mean, "learning_rate": self.engine.learning_rate(step)}

    def _record(self, split: str, epoch: int, step: int, found: Values) -> None:
        self.recorder.add(split, epoch, step, found)

    def _measured(self, part: str, between: Callable[[], None]) -> Values:
        with self.average.in_place() if self.average else nullcontext():
            batches = self.data.pieces(getattr(self.data, part), self._rows_at_once)
            return evaluate(self.network, batches, self._tally(), between)

    def _check_validation(self, found: Values) -> None:
        if not math.isfinite(found["loss"]):
            raise not_finite("validation loss", found["loss"], self.step - 1, self.epoch)

    def _see(self, by_split: dict[str, Values]) -> None:
        self.values = by_split
        if self.plateau:
            self.plateau.see(self.values)
            self.engine.reduction = self.plateau.factor
        if self.stopping and self.stopping.better(self.epoch, self.values):
            averages = self.average.tensors() if self.average else {}
            self.best = {k: v.detach().clone() for k, v in (self.network.state_dict() | averages).items()}
            self.best_step, self.best_values = self.step, self.values

    def snapshot(self) -> Snapshot:
        """Return this moment of the run."""
        at_best = self.stopping is not None and self.stopping.best_epoch == self.epoch > 0 and not self.batch
        best_epoch = self.stopping.best_epoch if self.stopping else 0
        tensors, kept = pack(self.network, self.engine.optimizer)
        averages = self.average.tensors() if self.average else {}
        state = self._state() | {
            "stopping": self.stopping.state() if self.stopping else None,
            "plateau": self.plateau.state() if self.plateau else None,
            "averaged": self.average.count if self.average else 0,
            "scale": self.engine.scale.state() if self.engine.scale else None,
            "optimizer": kept,
            "best_epoch": best_epoch,
            "best_step": self.best_step,
            "best_values": self.best_values,
            "values": self.values,
        }
        best = None if at_best or self.best is None else {f"{MODEL}{k}": v.cpu() for k, v in self.best.items()}
        return Snapshot(
            epoch=self.epoch,
            step=self.step,
            rows=self.rows,
            tensors=tensors | cpu({f"{AVERAGE}{name}": value for name, value in averages.items()}),
            state=state,
            metrics=self.values,
            kept=self.keeps,
            is_best=at_best,
            best=best,
            best_epoch=best_epoch,
            best_step=self.best_step,
        )

    def _restore(self, state: Mapping[str, Any], tensors: Tensors, best: Tensors | None) -> None:
        self.values, self.best_step, self.best_values = state["values"], state["best_step"], state["best_values"]
        if self.stopping:
            self.stopping.restore(state["stopping"])
        if self.plateau and state["plateau"]:
            self.plateau.restore(state["plateau"])
            self.engine.reduction = self.plateau.factor
        if self.average:
            self.average.restore(state["averaged"], part(tensors, AVERAGE))
        if self.engine.scale and state.get("scale"):
            self.engine.scale.restore(state["scale"])
        unpack(tensors, state["optimizer"], self.network, self.engine.optimizer)
        self.best = None if best is None else {k: v.to(self.device) for k, v in best.items()}

    def restore_best(self) -> dict[str, Values]:
        """Put the weights of the best epoch back where there are any; return the values that go with the weights."""
        if self.average:
            self.average.settle()
            self.average = None
        if self.best is None:
            return self.values
        self.network.load_state_dict(self.best)
        return self.best_values
