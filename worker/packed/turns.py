"""Jobs that cannot be one stack of weights: the same steps one job after the other.

Shape letters: K jobs, R rows, O outputs.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from service.blocks.schedules import Horizon
from service.network import Network, materialize
from worker.packed.pack import Saved, Start
from worker.packed.variants import Variant, Variants
from worker.rows import Batch
from worker.training.averaging import WeightAverage
from worker.training.checkpoints import AVERAGE, Tensors, cpu, pack, part, unpack
from worker.training.precision import Precision
from worker.training.step import Step
from worker.training.trained import Arithmetic


class _Alone:
    """One job: its network, its step and its average."""

    def __init__(
        self,
        variant: Variant,
        network: Network,
        device: torch.device,
        horizon: Horizon,
        rows_of_batch: int,
        precision: Precision,
    ) -> None:
        averaging = variant.spec.training.averaging
        self.network = network.to(device)
        self.step = Step(self.network, variant.spec, device, horizon, rows_of_batch, precision=precision)
        self.average = WeightAverage(averaging, self.network, horizon) if averaging else None

    def save(self) -> Saved:
        """Return everything that a checkpoint keeps."""
        tensors, rest = pack(self.network, self.step.optimizer)
        state = {"optimizer": rest, "averaged": 0, "scale": self.step.scale.state() if self.step.scale else None}
        if self.average is None:
            return tensors, state
        averages = cpu({f"{AVERAGE}{name}": value for name, value in self.average.tensors().items()})
        return tensors | averages, {**state, "averaged": self.average.count}

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Go on from what `save` returned."""
        unpack(tensors, state["optimizer"], self.network, self.step.optimizer)
        if self.step.scale is not None:
            self.step.scale.restore(state["scale"])
        if self.average is not None:
            self.average.restore(state["averaged"], part(tensors, AVERAGE))


class ByTurns:
    """Jobs of one shape of which every step is taken one job after the other: what each does alone, to the bit."""

    def __init__(
        self,
        variants: Variants,
        start: Start,
        device: torch.device,
        horizon: Horizon,
        rows_of_batch: int,
        precision: Precision,
    ) -> None:
        self.variants, self.reductions = variants, [1.0] * len(variants)
        self._each: list[_Alone] = []
        for place, variant in enumerate(variants):
            network = materialize(variants.build(place), variant.seed)
            start(network)
            self._each.append(_Alone(variant, network, device, horizon, rows_of_batch, precision))

    @property
    def has_batch_norm(self) -> bool:
        """Whether batches of one row have no variance."""
        return self._each[0].network.has_batch_norm

    @property
    def arithmetic(self) -> Arithmetic:
        """How the steps computed."""
        steps = [own.step for own in self._each]
        skipped = [step.scale.skipped for step in steps if step.scale]
        precision = steps[0].precision
        return Arithmetic(precision.number, precision.tf32, steps_skipped=sum(skipped) if skipped else None)

    def learning_rates(self, step: int) -> list[float]:
        """Return the rate of each job at a step."""
        self._reduce()
        return [own.step.learning_rate(step) for own in self._each]

    def enter(self, epoch: int) -> None:
        """Let learn what does so in epoch `epoch`, counted from 0."""
        for own in self._each:
            own.step.enter(epoch)

    def begin(self) -> None:
        """Get ready to train."""
        for own in self._each:
            own.step.begin()

    def end(self) -> None:
        """Get ready to predict."""
        for own in self._each:
            own.step.end()

    def close(self) -> None:
        """Let go of what others in this process may want, until the next step."""
        for own in self._each:
            own.step.close()

    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Step on rows [K, R, ...]; return the mean losses [K] without penalties, and the outputs [K, R, O]."""
        self._reduce()
        losses, outputs = [], []
        for own, parts in zip(self._each, zip(*batch.parts(), strict=True), strict=True):
            loss, output = own.step(Batch(*parts), step)
            if own.average is not None:
                own.average.after_step(step + 1)
            losses.append(loss)
            outputs.append(output)
        return torch.stack(losses), torch.stack(outputs)

    def outputs(self, x: Tensor, shared: bool) -> Tensor:
        """Return the outputs in prediction mode, [K, R, O]; `shared`: all jobs see the same rows, [R, ...]."""
        rows = [x] * len(self._each) if shared else x
        return torch.stack([own.network(seen) for own, seen in zip(self._each, rows, strict=True)])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Predict with the averages of the weights, where there are such, inside the block."""
        with ExitStack() as stack:
            for own in self._each:
                if own.average is not None:
                    stack.enter_context(own.average.in_place())
            yield

    def weights(self, place: int) -> Tensors:
        """Return what a job predicts with, by name: where there are averages, those."""
        own = self._each[place]
        return own.network.state_dict() | (own.average.tensors() if own.average else {})

    def networks(self) -> list[Network]:
        """Return the networks, to be changed before the first step."""
        return [own.network for own in self._each]

    def save(self) -> Saved:
        """Return everything that a checkpoint keeps: the tensors of job k below `k/`, and JSON values."""
        tensors: Tensors = {}
        states = []
        for place, own in enumerate(self._each):
            found, state = own.save()
            tensors |= {f"{place}/{name}": value for name, value in found.items()}
            states.append(state)
        return tensors, {"each": states}

    def restore(self, saved: Saved) -> None:
        """Go on from what `save` returned."""
        tensors, state = saved
        for place, own in enumerate(self._each):
            own.restore(part(tensors, f"{place}/"), state["each"][place])

    @staticmethod
    def take(saved: Saved, places: Sequence[int]) -> Saved:
        """Return of what `save` returned that of some jobs."""
        tensors, state = saved
        kept = {
            f"{new}/{name}": value for new, old in enumerate(places) for name, value in part(tensors, f"{old}/").items()
        }
        return kept, {"each": [state["each"][place] for place in places]}

    def _reduce(self) -> None:
        for own, reduction in zip(self._each, self.reductions, strict=True):
            own.step.reduction = reduction
