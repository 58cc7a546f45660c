"""Epochs and batches, of one network or of several: what runs between the first step and the last."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol

import torch
from torch import Tensor

from service.spec import JobSpec
from worker.lease import Interrupted, Lease, LeaseLost
from worker.rows import Batch, TrainingData
from worker.training.checkpoints import Snapshot, Tensors
from worker.training.profiling import Profiler
from worker.training.recorder import Recorder
from worker.training.tally import Mean, Sums, Values

SCAN_STEPS = 32
"""Steps between looks at the losses, each of which waits for the device."""


class Engine(Protocol):
    """What takes the steps."""

    def enter(self, epoch: int) -> None:
        """Let learn what does so in epoch `epoch`, counted from 0."""

    def begin(self) -> None:
        """Get ready to train: statistics move, noise is on."""

    def end(self) -> None:
        """Get ready to predict: statistics are frozen, noise is off."""

    def close(self) -> None:
        """Let go of what others in this process may want, until the next step."""

    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Take a step; return the mean loss of each network without penalties, and the outputs."""


class Steps(Protocol):
    """The training rows of an epoch, a step at a time."""

    rows_of_batch: int
    steps: int

    def of(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the steps of an epoch from number `first` on."""


class Epochs(Generic[Mean, Values]):
    """Trains on data, and knows where it is at every step boundary; what trains, its kinds say."""

    engine: Engine
    batches: Steps
    tally: Sums[Mean, Values]
    """Of the epoch so far."""

    def __init__(self, spec: JobSpec, data: TrainingData, lease: Lease, recorder: Recorder) -> None:
        self.spec, self.data, self.lease, self.recorder = spec, data, lease, recorder
        self.metrics, self.device, self.timings = list(spec.metrics), data.device, recorder.timings
        self.epoch = self.step = self.batch = self.rows = 0
        self.pretrained = 0
        """How much of the pre-training is done: layers, of all networks."""
        self.profiler: Profiler | None = None
        """Told of every step, if there is one."""
        self._unscanned: list[tuple[Tensor, int]] = []
        """Mean losses and rows of the steps since the last look."""

    @property
    def rows_of_batch(self) -> int:
        """Rows of one batch of one network."""
        return self.batches.rows_of_batch

    @property
    def finished(self) -> bool:
        """True when there is nothing more to train."""
        return self.epoch >= self.spec.training.epochs

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
            NonFiniteLoss: The loss, or that of every network, became NaN or infinite.
        """
        self.engine.begin()
        self.recorder.start(self.step)
        while not self.finished:
            self._train_epoch(between)
            self._end_epoch()
            between(True)
        self.engine.end()

    def check_wish(self) -> None:
        """End the run here if somebody wishes so."""
        self.lease.at_step()
        wish = self.lease.wish
        if wish == "fenced":
            raise LeaseLost(self.lease.job_id)
        if wish is not None:
            self._scan()
            raise Interrupted(wish)

    def measure(self, part: str, between: Callable[[], None] = lambda: None) -> Values:
        """Return loss and metrics on the rows of one part, validation or test, in prediction mode."""
        self.engine.end()
        self.close()
        try:
            with self.timings.of("validation"):
                return self._measured(part, between)
        finally:
            self.engine.begin()

    def close(self) -> None:
        """Let go of what others in this process may want, until the next step."""
        self.engine.close()
        if self.profiler is not None:
            self.profiler.pause()

    def snapshot(self) -> Snapshot:
        """Return this moment of the run."""
        raise NotImplementedError

    def restore(self, state: Mapping[str, Any], tensors: Tensors, best: Tensors | None) -> None:
        """Go on from a snapshot."""
        self.epoch, self.step, self.batch = state["epoch"], state["step"], state["batch"]
        self.rows, self.pretrained = state["rows"], state["pretrained"]
        self._restore(state, tensors, best)
        self.tally = self._tally()
        self.tally.restore(state["tally"], self.device)

    def _train_epoch(self, between: Callable[[bool], None]) -> None:
        checkpoint_steps, axis, networks = self.spec.training.checkpoint_steps, self.tally.axis, self._networks
        self.engine.enter(self.epoch)
        for batch in self.timings.each("data", self.batches.of(self.epoch, self.batch)):
            self.check_wish()
            losses, output = self._step(batch)
            rows = batch.y.shape[axis]
            self._unscanned.append((losses, rows))
            self.tally.add(output, batch.y)
            self.step += 1
            self.batch += 1
            self.rows += rows * networks
            wanted = checkpoint_steps is not None and self.step % checkpoint_steps == 0
            if wanted or len(self._unscanned) == SCAN_STEPS:
                self._scan()
                self._flush()
                if self.batch < self.batches.steps:
                    between(False)
        self._scan()

    def _step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.profiler is not None and (label := self.profiler.step(self.step)) is not None:
            with label:
                return self.engine(batch, self.step)
        return self.engine(batch, self.step)

    def _scan(self) -> None:
        """Look at the losses since the last look, which go into the tally and the log."""
        if not self._unscanned:
            return
        losses, rows = zip(*self._unscanned, strict=True)
        first, every = self.step - len(rows), self.spec.training.log_every_steps
        for offset, mean in enumerate(self._finite(torch.stack(losses), first)):
            self.tally.add_loss(mean, rows[offset])
            at = first + offset
            if every and (at + 1) % every == 0:
                self._record("train", self.epoch + 1, at + 1, self._of_step(mean, at))
        self._unscanned = []

    def _end_epoch(self) -> None:
        by_split = {"train": self.tally.values()}
        if len(self.data.validation):
            # One that is broken off is done again.
            by_split["validation"] = self.measure("validation", self.check_wish)
            self._check_validation(by_split["validation"])
        self.epoch, self.batch = self.epoch + 1, 0
        for split, found in by_split.items():
            self._record(split, self.epoch, self.step, found)
        self._see(by_split)
        self.tally = self._tally()
        self._flush()

    def _flush(self) -> None:
        if self.recorder.due():
            self.recorder.flush(self.epoch, self.step, self.rows)

    def _state(self) -> dict[str, Any]:
        """Return where the run is, as JSON values."""
        place = {"epoch": self.epoch, "step": self.step, "batch": self.batch, "rows": self.rows}
        return {**place, "pretrained": self.pretrained, "tally": self.tally.state()}

    @property
    def _networks(self) -> int:
        """How many networks train."""
        raise NotImplementedError

    def _tally(self) -> Sums[Mean, Values]:
        """Return sums of nothing yet."""
        raise NotImplementedError

    def _finite(self, losses: Tensor, first: int) -> Iterator[Mean]:
        """Yield the mean losses of the steps from number `first` on, [steps, ...], and see that they are finite."""
        raise NotImplementedError

    def _of_step(self, mean: Mean, step: int) -> Values:
        """Return what the log says of a step."""
        raise NotImplementedError

    def _record(self, split: str, epoch: int, step: int, found: Values) -> None:
        """Have the recorder take in what was measured."""
        raise NotImplementedError

    def _measured(self, part: str, between: Callable[[], None]) -> Values:
        """Return loss and metrics on the rows of one part; the engine predicts."""
        raise NotImplementedError

    def _check_validation(self, found: Values) -> None:
        """See that the loss on the validation rows is finite."""
        raise NotImplementedError

    def _see(self, by_split: dict[str, Values]) -> None:
        """Take in what an epoch gave."""
        raise NotImplementedError

    def _restore(self, state: Mapping[str, Any], tensors: Tensors, best: Tensors | None) -> None:
        """Have what trains go on from a snapshot."""
        raise NotImplementedError
