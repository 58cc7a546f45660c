"""The epochs of several jobs that train together."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from worker.lease import Lease
from worker.packed.batches import PackedBatches
from worker.packed.evaluate import evaluate
from worker.packed.member import Member
from worker.packed.pack import Pack
from worker.packed.roster import Roster
from worker.packed.shelf import KEPT
from worker.packed.tally import PackedMeasure, PackedTally
from worker.packed.variants import Variants
from worker.training.checkpoints import Snapshot, Tensors, without
from worker.training.epochs import Epochs
from worker.training.recorder import Recorder
from worker.training.tally import Units

Build = Callable[[Variants], Pack]
Values = list[dict[str, Any]]
"""Loss and metrics by name of every job in the stack."""


class PackedLoop(Epochs[Tensor, Values]):
    """Trains jobs together.

    A job whose patience has run out, or whose loss is no number any more, no longer counts. Its weights go on moving
    in the stack, which nobody looks at, until half of the stack is such: then those that are left are stacked anew.
    """

    engine: Pack

    def __init__(
        self,
        variants: Variants,
        build: Build,
        lease: Lease,
        recorder: Recorder,
        units: Units | None,
        fails: Callable[[Member], None] = lambda member: None,
    ) -> None:
        """Get ready to train; `fails` is called with every job that is left out.

        The rows are those of the first job, which has as many of each part as all others.
        """
        super().__init__(variants.spec, variants.members[0].data, lease, recorder)
        self.roster = Roster(variants, self.metrics, fails)
        self._build = build
        self._stack(build(variants))
        self.measured = PackedMeasure(self.spec.loss, self.metrics, units, records=self.device.type == "cpu")
        self.tally = self._tally()

    @property
    def finished(self) -> bool:
        """True when all epochs are trained, or no job goes on."""
        return super().finished or not self.roster.live

    @property
    def _networks(self) -> int:
        return len(self.roster.live)

    def _tally(self) -> PackedTally:
        return PackedTally(self.measured, len(self.roster.places))

    def _finite(self, losses: Tensor, first: int) -> Iterator[Tensor]:
        """Yield the mean losses [K] of steps; a job whose loss is not finite is left out from there on."""
        seen = losses.double().cpu()
        finite = bool(seen.isfinite().all())
        for step, means in enumerate(seen, first):
            if not finite:
                self.roster.leave_out("loss", means.tolist(), step, self.epoch)
            yield means

    def _of_step(self, mean: Tensor, step: int) -> Values:
        pairs = zip(mean.tolist(), self.engine.learning_rates(step), strict=True)
        return [{"batch_loss": loss, "learning_rate": rate} for loss, rate in pairs]

    def _record(self, split: str, epoch: int, step: int, found: Values) -> None:
        self.recorder.add_members(split, epoch, step, self.roster.training(found))

    def _measured(self, part: str, between: Callable[[], None]) -> Values:
        with self.engine.averaged():
            return evaluate(self.engine, part, self._tally(), between)

    def _check_validation(self, found: Values) -> None:
        self.roster.leave_out("validation loss", [own["loss"] for own in found], self.step - 1, self.epoch)

    def _see(self, by_split: dict[str, Values]) -> None:
        self.roster.see(by_split, self.engine)
        self._restack()

    def snapshot(self) -> Snapshot:
        """Return this moment of the run; the best weights of each job are in the checkpoint itself."""
        tensors, pack = self.engine.save()
        kept, roster = self.roster.save()
        return Snapshot(
            epoch=self.epoch,
            step=self.step,
            rows=self.rows,
            tensors=tensors | kept,
            state=self._state() | {"pack": pack, "roster": roster, "best_epoch": 0},
            metrics=self.roster.values(),
            kept=self.keeps,
        )

    def _restore(self, state: Mapping[str, Any], tensors: Tensors, best: Tensors | None) -> None:
        self.roster.restore(tensors, state["roster"], self.device)
        self._stack(self._build(self.roster.stacked))
        self.engine.restore((without(tensors, KEPT), state["pack"]))

    def _restack(self) -> None:
        """Stack those that train anew where the others have become too many; learn at the rates that are left."""
        saved = self.engine.save() if (left := self.roster.thin()) else None
        if left and saved:
            self._stack(self._build(self.roster.stacked))
            self.engine.restore(self.engine.take(saved, left))
            self.engine.begin()
        self.engine.reductions = self.roster.reductions

    def _stack(self, pack: Pack) -> None:
        self.engine = pack
        self.batches = PackedBatches(pack.variants, pack.has_batch_norm)
        self.engine.reductions = self.roster.reductions
