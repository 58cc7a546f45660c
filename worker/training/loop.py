"""Epochs and batches: what runs between the first step and the last."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from service.blocks.metrics import Metric
from service.network import Network
from service.spec import JobSpec
from worker.lease import Interrupted, Lease, LeaseLost
from worker.rows import TrainingData
from worker.training.averaging import WeightAverage
from worker.training.batches import Batches
from worker.training.checkpoints import AVERAGE, MODEL, Snapshot, Tensors, cpu, pack, part, unpack
from worker.training.evaluate import evaluate, rows_at_once
from worker.training.finite import not_finite
from worker.training.plateau import Plateau
from worker.training.recorder import Recorder
from worker.training.step import Step
from worker.training.stopping import Stopping
from worker.training.tally import Measure, Tally, Units

SCAN_STEPS = 32
"""Steps between looks at the losses, each of which waits for the device."""
Values = dict[str, dict[str, Any]]


class Loop:
    """Trains a network on data, and knows where it is at every step boundary."""

    def __init__(
        self,
        spec: JobSpec,
        network: Network,
        data: TrainingData,
        batches: Batches,
        step: Step,
        lease: Lease,
        recorder: Recorder,
        metrics: Sequence[Metric],
        units: Units | None,
    ) -> None:
        self.spec, self.network, self.data, self.take_step = spec, network, data, step
        self.lease, self.recorder, self.metrics = lease, recorder, list(metrics)
        self.device, self.batches, self.timings = data.device, batches, recorder.timings
        self.rows_of_batch = batches.rows_of_batch
        self._rows_at_once = rows_at_once(network, batches.rows_of_batch)
        self.epoch = self.step = self.batch = self.rows = 0
        self.pretrained = 0
        """Layers whose pre-training is done."""
        self.measured = Measure(spec.loss, self.metrics, units, records=self.device.type == "cpu")
        self.tally = Tally(self.measured)
        self.stopping = Stopping.of(spec, self.metrics, len(data.validation) > 0)
        self.plateau = Plateau.of(spec, self.metrics, len(data.validation) > 0)
        averaging = spec.training.averaging
        self.average = WeightAverage(averaging, network, step.horizon) if averaging else None
        self.values: Values = {}
        self.best: Tensors | None = None
        self.best_step = 0
        self.best_values: Values = {}
        self._unscanned: list[tuple[Tensor, int]] = []
        """Mean loss and rows of the steps since the last look."""

    @property
    def finished(self) -> bool:
        """True when all epochs are trained or patience has run out."""
        return self.epoch >= self.spec.training.epochs or bool(self.stopping and self.stopping.exhausted)

    @property
    def keeps(self) -> bool:
        """True at the end of an epoch whose checkpoint is to stay."""
        every = self.spec.training.keep_every_epochs
        return every is not None and not self.batch and self.epoch > 0 and self.epoch % every == 0

    def run(self, between: Callable[[bool], None]) -> None:
        """Train to the end; `between` is called now and then between steps, with True at the end of every epoch.

        Raises:
            Interrupted: Somebody wishes the run to end; `snapshot` can be taken.
            LeaseLost: Another attempt owns the job.
            NonFiniteLoss: The loss became NaN or infinite.
        """
        self.take_step.begin()
        self.recorder.start(self.step)
        while not self.finished:
            self._train_epoch(between)
            self._end_epoch()
            between(True)
        self.take_step.end()

    def check_wish(self) -> None:
        """End the run here if somebody wishes so."""
        self.lease.at_step()
        wish = self.lease.wish
        if wish == "fenced":
            raise LeaseLost(self.lease.job_id)
        if wish is not None:
            self._scan()
            raise Interrupted(wish)

    def _train_epoch(self, between: Callable[[bool], None]) -> None:
        checkpoint_steps = self.spec.training.checkpoint_steps
        self.take_step.enter(self.epoch)
        for batch in self.timings.each("data", self.batches.of(self.epoch, self.batch)):
            self.check_wish()
            loss, output = self.take_step(batch, self.step)
            self._unscanned.append((loss, len(batch)))
            self.tally.add(output, batch.y)
            self.step += 1
            self.batch += 1
            self.rows += len(batch)
            if self.average:
                self.average.after_step(self.step)
            wanted = checkpoint_steps is not None and self.step % checkpoint_steps == 0
            if wanted or len(self._unscanned) == SCAN_STEPS:
                self._scan()
                if self.recorder.due():
                    self.recorder.flush(self.epoch, self.step, self.rows)
                if self.batch < self.batches.steps:
                    between(False)
        self._scan()

    def _scan(self) -> None:
        """Look at the losses since the last look: all must be finite; they go into the tally and the log."""
        if not self._unscanned:
            return
        losses, rows = zip(*self._unscanned, strict=True)
        first, every = self.step - len(rows), self.spec.training.log_every_steps
        for offset, loss in enumerate(torch.stack(losses).tolist()):
            if not math.isfinite(loss):
                raise not_finite("loss", loss, first + offset, self.epoch)
            self.tally.add_loss(loss, rows[offset])
            at = first + offset + 1
            if every and at % every == 0:
                values = {"batch_loss": loss, "learning_rate": self.take_step.learning_rate(at - 1)}
                self.recorder.add("train", self.epoch + 1, at, values)
        self._unscanned = []

    def _end_epoch(self) -> None:
        train = self.tally.values()
        validation = self.validate()
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, Tally(self.measured)
        self.values = {"train": train, **({"validation": validation} if validation else {})}
        for split, found in self.values.items():
            self.recorder.add(split, self.epoch, self.step, found)
        if self.plateau:
            self.plateau.see(self.values)
            self.take_step.reduction = self.plateau.factor
        if self.stopping and self.stopping.better(self.epoch, self.values):
            averages = self.average.tensors() if self.average else {}
            self.best = {k: v.detach().clone() for k, v in (self.network.state_dict() | averages).items()}
            self.best_step, self.best_values = self.step, self.values
        if self.recorder.due():
            self.recorder.flush(self.epoch, self.step, self.rows)

    def validate(self) -> dict[str, Any] | None:
        """Return the values on the validation rows; None where there are none. One that is broken off is done again."""
        if not len(self.data.validation):
            return None
        values = self.measure(self.data.validation, self.check_wish)
        if not math.isfinite(values["loss"]):
            raise not_finite("validation loss", values["loss"], self.step - 1, self.epoch)
        return values

    def measure(self, index: Tensor, between: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Return loss and metrics on the rows at `index`, in prediction mode."""
        self.take_step.end()
        try:
            with self.timings.of("validation"), self.average.in_place() if self.average else nullcontext():
                batches = self.data.pieces(index, self._rows_at_once)
                return evaluate(self.network, batches, Tally(self.measured), between)
        finally:
            self.take_step.begin()

    def close(self) -> None:
        """Let go of what others in this process may want, until the next step."""
        self.take_step.close()

    def snapshot(self) -> Snapshot:
        """Return this moment of the run."""
        at_best = self.stopping is not None and self.stopping.best_epoch == self.epoch > 0 and not self.batch
        best_epoch = self.stopping.best_epoch if self.stopping else 0
        tensors, kept = pack(self.network, self.take_step.optimizer)
        averages = self.average.tensors() if self.average else {}
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "batch": self.batch,
            "rows": self.rows,
            "pretrained": self.pretrained,
            "tally": self.tally.state(),
            "stopping": self.stopping.state() if self.stopping else None,
            "plateau": self.plateau.state() if self.plateau else None,
            "averaged": self.average.count if self.average else 0,
            "scale": self.take_step.scale.state() if self.take_step.scale else None,
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
            is_best=at_best,
            best=best,
            best_epoch=best_epoch,
            best_step=self.best_step,
            kept=self.keeps,
        )

    def restore(self, state: Mapping[str, Any], tensors: Tensors, best: Tensors | None) -> None:
        """Go on from a snapshot."""
        self.epoch, self.step, self.batch = state["epoch"], state["step"], state["batch"]
        self.rows, self.values = state["rows"], state["values"]
        self.best_step, self.best_values = state["best_step"], state["best_values"]
        self.pretrained = state["pretrained"]
        self.tally.restore(state["tally"], self.device)
        if self.stopping:
            self.stopping.restore(state["stopping"])
        if self.plateau and state["plateau"]:
            self.plateau.restore(state["plateau"])
            self.take_step.reduction = self.plateau.factor
        if self.average:
            self.average.restore(state["averaged"], part(tensors, AVERAGE))
        if self.take_step.scale and state.get("scale"):
            self.take_step.scale.restore(state["scale"])
        unpack(tensors, state["optimizer"], self.network, self.take_step.optimizer)
        self.best = None if best is None else {k: v.to(self.device) for k, v in best.items()}

    def restore_best(self) -> Values:
        """Put the weights of the best epoch back where there are any; return the values that go with the weights."""
        if self.average:
            self.average.settle()
            self.average = None
        if self.best is None:
            return self.values
        self.network.load_state_dict(self.best)
        return self.best_values
