"""Epochs and batches of several jobs that train together: what runs between the first step and the last."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from worker.lease import Interrupted, Lease, LeaseLost
from worker.packed.batches import PackedBatches
from worker.packed.evaluate import evaluate
from worker.packed.member import Member
from worker.packed.pack import Pack
from worker.packed.roster import Roster
from worker.packed.shelf import KEPT
from worker.packed.tally import PackedMeasure, PackedTally
from worker.packed.variants import Variants
from worker.rows import Batch
from worker.training.checkpoints import Snapshot, Tensors, without
from worker.training.loop import SCAN_STEPS
from worker.training.profiling import Profiler
from worker.training.recorder import Recorder
from worker.training.tally import Units

Build = Callable[[Variants], Pack]


class PackedLoop:
    """Trains jobs together, and knows where each is at every step boundary.

    A job whose patience has run out, or whose loss is no number any more, no longer counts. Its weights go on moving
    in the stack, which nobody looks at, until half of the stack is such: then those that are left are stacked anew.
    """

    def __init__(
        self,
        variants: Variants,
        build: Build,
        lease: Lease,
        recorder: Recorder,
        units: Units | None,
        fails: Callable[[Member], None] = lambda member: None,
    ) -> None:
        """Get ready to train; `fails` is called with every job that is left out."""
        self.spec, self.lease, self.recorder, self.timings = variants.spec, lease, recorder, recorder.timings
        self.metrics = list(self.spec.metrics)
        self.roster = Roster(variants, self.metrics, fails)
        self.data = variants.members[0].data
        """The rows of the first job, which has as many of each part as all others."""
        self.epoch = self.step = self.batch = self.rows = 0
        self.pretrained = 0
        """Jobs whose pre-training is done."""
        self._build = build
        self._stack(build(variants))
        self._device = self.data.device
        self.measured = PackedMeasure(self.spec.loss, self.metrics, units, records=self._device.type == "cpu")
        self.tally = self._tally()
        self.profiler: Profiler | None = None
        """Told of every step, if there is one."""
        self._unscanned: list[tuple[Tensor, int]] = []
        """Mean losses and rows of the steps since the last look."""

    @property
    def rows_of_batch(self) -> int:
        """Rows of one batch of one job."""
        return self.batches.rows_of_batch

    @property
    def finished(self) -> bool:
        """True when all epochs are trained, or no job goes on."""
        return self.epoch >= self.spec.training.epochs or not self.roster.live

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
            NonFiniteLoss: The loss of every job became NaN or infinite.
        """
        self.pack.begin()
        self.recorder.start(self.step)
        while not self.finished:
            self._train_epoch(between)
            self._end_epoch()
            between(True)
        self.pack.end()

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
        self.pack.enter(self.epoch)
        jobs = len(self.roster.live)
        for batch in self.timings.each("data", self.batches.of(self.epoch, self.batch)):
            self.check_wish()
            losses, output = self._step(batch)
            rows = batch.y.shape[1]
            self._unscanned.append((losses, rows))
            self.tally.add(output, batch.y)
            self.step += 1
            self.batch += 1
            self.rows += rows * jobs
            wanted = checkpoint_steps is not None and self.step % checkpoint_steps == 0
            if wanted or len(self._unscanned) == SCAN_STEPS:
                self._scan()
                if self.recorder.due():
                    self.recorder.flush(self.epoch, self.step, self.rows)
                if self.batch < self.batches.steps:
                    between(False)
        self._scan()

    def _step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.profiler is not None and (label := self.profiler.step(self.step)) is not None:
            with label:
                return self.pack(batch, self.step)
        return self.pack(batch, self.step)

    def _scan(self) -> None:
        """Look at the losses since the last look: a job whose loss is not finite is left out from here on."""
        if not self._unscanned:
            return
        losses, rows = zip(*self._unscanned, strict=True)
        seen = torch.stack(losses).double().cpu()
        first, every = self.step - len(rows), self.spec.training.log_every_steps
        finite = bool(seen.isfinite().all())
        for offset, means_of_step in enumerate(seen):
            at = first + offset
            self.tally.add_loss(means_of_step, rows[offset])
            if not finite:
                self.roster.leave_out("loss", means_of_step.tolist(), at, self.epoch)
            if every and (at + 1) % every == 0:
                rates = self.pack.learning_rates(at)
                pairs = zip(means_of_step.tolist(), rates, strict=True)
                values = [{"batch_loss": loss, "learning_rate": rate} for loss, rate in pairs]
                self.recorder.add_members("train", self.epoch + 1, at + 1, self.roster.training(values))
        self._unscanned = []

    def _end_epoch(self) -> None:
        by_split = {"train": self.tally.values()}
        if len(self.data.validation):
            by_split["validation"] = self.measure("validation", self.check_wish)
            losses = [found["loss"] for found in by_split["validation"]]
            self.roster.leave_out("validation loss", losses, self.step - 1, self.epoch)
        self.epoch, self.batch = self.epoch + 1, 0
        for split, found in by_split.items():
            self.recorder.add_members(split, self.epoch, self.step, self.roster.training(found))
        self.roster.see(by_split, self.pack)
        self._restack()
        self.tally = self._tally()
        if self.recorder.due():
            self.recorder.flush(self.epoch, self.step, self.rows)

    def measure(self, part: str, between: Callable[[], None]) -> list[dict[str, Any]]:
        """Return loss and metrics of every job in the stack on rows of one part, in prediction mode."""
        self.pack.end()
        self.close()
        try:
            with self.timings.of("validation"), self.pack.averaged():
                return evaluate(self.pack, part, self._tally(), between)
        finally:
            self.pack.begin()

    def close(self) -> None:
        """Let go of what others in this process may want, until the next step."""
        self.pack.close()
        if self.profiler is not None:
            self.profiler.pause()

    def snapshot(self) -> Snapshot:
        """Return this moment of the run."""
        tensors, pack = self.pack.save()
        kept, roster = self.roster.save()
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "batch": self.batch,
            "rows": self.rows,
            "pretrained": self.pretrained,
            "tally": self.tally.state(),
            "pack": pack,
            "roster": roster,
            "best_epoch": 0,  # the best weights of each job are in the checkpoint itself
        }
        return Snapshot(
            epoch=self.epoch,
            step=self.step,
            rows=self.rows,
            tensors=tensors | kept,
            state=state,
            metrics=self.roster.values(),
            is_best=False,
            best=None,
            best_epoch=0,
            best_step=0,
            kept=self.keeps,
        )

    def restore(self, state: Mapping[str, Any], tensors: Tensors, best: Tensors | None = None) -> None:
        """Go on from a snapshot, which has the best weights of each job among its `tensors`."""
        self.epoch, self.step, self.batch = state["epoch"], state["step"], state["batch"]
        self.rows, self.pretrained = state["rows"], state["pretrained"]
        self.roster.restore(tensors, state["roster"], self._device)
        self._stack(self._build(self.roster.stacked))
        self.pack.restore((without(tensors, KEPT), state["pack"]))
        self.tally = self._tally()
        self.tally.restore(state["tally"], self._device)

    def _restack(self) -> None:
        """Stack those that train anew where the others have become too many; learn at the rates that are left."""
        saved = self.pack.save() if (left := self.roster.thin()) else None
        if left and saved:
            self._stack(self._build(self.roster.stacked))
            self.pack.restore(self.pack.take(saved, left))
            self.pack.begin()
        self.pack.reductions = self.roster.reductions

    def _stack(self, pack: Pack) -> None:
        self.pack = pack
        self.batches = PackedBatches(pack.variants, pack.has_batch_norm)
        self.pack.reductions = self.roster.reductions

    def _tally(self) -> PackedTally:
        return PackedTally(self.measured, len(self.roster.places))
