"""Epochs and batches: what runs between the first step and the last."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from service.blocks.metrics import Metric
from service.errors import NonFiniteLoss
from service.network import Network
from service.randomness import permutation
from service.spec import JobSpec
from worker.data import TrainingData
from worker.lease import Lease, LeaseLost, Wish
from worker.training.checkpoints import MODEL, Snapshot, Tensors, pack, unpack
from worker.training.evaluate import evaluate
from worker.training.recorder import Recorder
from worker.training.step import Step
from worker.training.stopping import Stopping
from worker.training.tally import Tally, Units

SCAN_STEPS = 32
"""Steps between looks at the losses, each of which waits for the device."""
GATHER_BYTES = 256 * 1024 * 1024
"""Data that is put into the epoch's order in one go; larger data is gathered batch by batch."""
Values = dict[str, dict[str, float]]


class Interrupted(Exception):
    """The run is to end at this step boundary, for a reason that came from outside."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        super().__init__(wish)


class Loop:
    """Trains a network on data, and knows where it is at every step boundary."""

    def __init__(
        self,
        spec: JobSpec,
        network: Network,
        data: TrainingData,
        step: Step,
        lease: Lease,
        recorder: Recorder,
        metrics: Sequence[Metric],
        units: Units | None,
    ) -> None:
        self.spec, self.network, self.data, self.take_step = spec, network, data, step
        self.lease, self.recorder, self.metrics, self.units = lease, recorder, list(metrics), units
        self.device = data.x.device
        self.epoch = self.step = self.batch = self.rows = 0
        self.tally = self.new_tally()
        self.stopping = Stopping.of(spec, self.metrics, len(data.validation) > 0)
        self.values: Values = {}
        self.best: Tensors | None = None
        self.best_step = 0
        self.best_values: Values = {}
        self._losses = torch.zeros(SCAN_STEPS, device=self.device)
        self._unscanned: list[int] = []

    def new_tally(self) -> Tally:
        """Return an empty tally of this job's loss and metrics."""
        return Tally(self.spec.loss, self.metrics, self.units)

    @property
    def finished(self) -> bool:
        """True when all epochs are trained or patience has run out."""
        return self.epoch >= self.spec.training.epochs or bool(self.stopping and self.stopping.exhausted)

    def run(self, at_epoch_end: Callable[[], None]) -> None:
        """Train to the end; `at_epoch_end` is called after every epoch.

        Raises:
            Interrupted: Somebody wishes the run to end; `snapshot` can be taken.
            LeaseLost: Another attempt owns the job.
            NonFiniteLoss: The loss became NaN or infinite.
        """
        self.take_step.begin()
        self.recorder.start(self.step)
        while not self.finished:
            self._train_epoch()
            self._end_epoch()
            at_epoch_end()
        self.take_step.end()

    def check_wish(self) -> None:
        """End the run here if somebody wishes so."""
        wish = self.lease.wish
        if wish == "fenced":
            raise LeaseLost(self.lease.job_id)
        if wish is not None:
            self._scan()
            raise Interrupted(wish)

    def _train_epoch(self) -> None:
        for x, y in self._batches():
            self.check_wish()
            loss, output = self.take_step(x, y, self.step)
            self._losses[len(self._unscanned)] = loss
            self._unscanned.append(len(y))
            self.tally.add(output, y)
            self.step += 1
            self.batch += 1
            self.rows += len(y)
            if len(self._unscanned) == SCAN_STEPS:
                self._scan()
                if self.recorder.due():
                    self.recorder.flush(self.epoch, self.step, self.rows)
        self._scan()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = permutation(len(self.data.train), self.spec.training.seed, "order", self.epoch).to(self.device)
        index = self.data.train[order]
        size, x, y = self.spec.training.batch_size, self.data.x, self.data.y
        count = steps_per_epoch(len(index), size, self.network.has_batch_norm)
        whole = x[0].numel() * x.element_size() * len(index) <= GATHER_BYTES
        if whole:
            x, y = x[index], y[index]
        for batch in range(self.batch, count):
            rows = slice(batch * size, (batch + 1) * size)
            yield (x[rows], y[rows]) if whole else (x[index[rows]], y[index[rows]])

    def _scan(self) -> None:
        """Look at the losses since the last look: all must be finite; they go into the tally and the log."""
        count = len(self._unscanned)
        first = self.step - count
        every = self.spec.training.log_every_steps
        for offset, loss in enumerate(self._losses[:count].tolist()):
            if not math.isfinite(loss):
                raise self._not_finite("loss", loss, first + offset)
            self.tally.add_loss(loss, self._unscanned[offset])
            at = first + offset + 1
            if every and at % every == 0:
                values = {"batch_loss": loss, "learning_rate": self.take_step.learning_rate(at - 1)}
                self.recorder.add("train", self.epoch + 1, at, values)
        self._unscanned = []

    def _not_finite(self, what: str, value: float, step: int) -> NonFiniteLoss:
        said = "NaN" if math.isnan(value) else "infinite"
        return NonFiniteLoss(
            f"The {what} became {said} at step {step + 1} (epoch {self.epoch + 1}). Try a lower learning_rate, "
            "regularization.clip_norm, or standardized features, and check the data for extreme values."
        )

    def _end_epoch(self) -> None:
        train = self.tally.values()
        validation = self.validate()
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, self.new_tally()
        self.values = {"train": train, **({"validation": validation} if validation else {})}
        for split, found in self.values.items():
            self.recorder.add(split, self.epoch, self.step, found)
        if self.stopping and self.stopping.better(self.epoch, self.values):
            self.best = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
            self.best_step, self.best_values = self.step, self.values
        if self.recorder.due():
            self.recorder.flush(self.epoch, self.step, self.rows)

    def validate(self) -> dict[str, float] | None:
        """Return the values on the validation rows; None where there are none. One that is broken off is done again."""
        if not len(self.data.validation):
            return None
        values = self.measure(self.data.validation, self.check_wish)
        if not math.isfinite(values["loss"]):
            raise self._not_finite("validation loss", values["loss"], self.step - 1)
        return values

    def measure(self, index: Tensor, between: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Return loss and metrics on the rows at `index`, in prediction mode."""
        self.take_step.end()
        try:
            return evaluate(self.network, self.data.x[index], self.data.y[index], self.new_tally(), between)
        finally:
            self.take_step.begin()

    def snapshot(self) -> Snapshot:
        """Return this moment of the run."""
        at_best = self.stopping is not None and self.stopping.best_epoch == self.epoch > 0 and not self.batch
        best_epoch = self.stopping.best_epoch if self.stopping else 0
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "batch": self.batch,
            "rows": self.rows,
            "tally": self.tally.state(),
            "stopping": self.stopping.state() if self.stopping else None,
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
            tensors=pack(self.network, self.take_step.optimizer),
            state=state,
            metrics=self.values,
            is_best=at_best,
            best=best,
            best_epoch=best_epoch,
            best_step=self.best_step,
        )

    def restore(self, state: Mapping[str, Any], tensors: Tensors, best: Tensors | None) -> None:
        """Go on from a snapshot."""
        self.epoch, self.step, self.batch = state["epoch"], state["step"], state["batch"]
        self.rows, self.values = state["rows"], state["values"]
        self.best_step, self.best_values = state["best_step"], state["best_values"]
        self.tally.restore(state["tally"], self.device)
        if self.stopping:
            self.stopping.restore(state["stopping"])
        unpack(tensors, self.network, self.take_step.optimizer)
        self.best = None if best is None else {k: v.to(self.device) for k, v in best.items()}

    def restore_best(self) -> Values:
        """Put the weights of the best epoch back where there are any; return the values that go with the weights."""
        if self.best is None:
            return self.values
        self.network.load_state_dict(self.best)
        return self.best_values


def steps_per_epoch(rows: int, batch_size: int, has_batch_norm: bool) -> int:
    """Return the steps of an epoch; a last batch of one row has no variance for batch norm and is left out."""
    lonely = has_batch_norm and rows % batch_size == 1 and rows > 1
    return rows // batch_size if lonely else -(-rows // batch_size)


def every(seconds: float) -> Callable[[], bool]:
    """Return a clock that says yes once `seconds` have passed since it last said so."""
    said = time.monotonic()

    def due() -> bool:
        nonlocal said
        if time.monotonic() - said < seconds:
            return False
        said = time.monotonic()
        return True

    return due
