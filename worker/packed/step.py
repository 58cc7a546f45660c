"""One step of several jobs in one pass.

Shape letters: K jobs, R rows, O outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from service.blocks.schedules import Horizon
from service.network.stacked import StackedNetwork, stacked_weights
from service.randomness import generator
from worker.packed.gradient import PackedGradient
from worker.packed.noise import PackedNoise
from worker.packed.pack import Saved, Start
from worker.packed.update import PackedUpdate
from worker.packed.variants import Variants
from worker.rows import Batch
from worker.training.augment import Augment
from worker.training.averaging import WeightAverage
from worker.training.checkpoints import AVERAGE, Tensors, cpu, pack, unpack
from worker.training.checkpoints import part as below
from worker.training.clipping import clipping
from worker.training.gradient import Pass
from worker.training.precision import Precision
from worker.training.recorded import Recorded, Results
from worker.training.step import add_, groups_of
from worker.training.trained import Arithmetic


class Together:
    """Jobs of one shape as one stack of weights: forward, backward and update run once for all of them.

    What each job does is what it does alone, to the rounding of float32: its masks, its order of rows and its first
    weights are the same, and nothing of another job is ever added to what is its own.
    """

    def __init__(
        self,
        variants: Variants,
        start: Start,
        device: torch.device,
        horizon: Horizon,
        rows_of_batch: int,
        records: bool = True,
    ) -> None:
        spec = variants.spec
        self.variants, self.horizon = variants, horizon
        self.reductions = [1.0] * len(variants)
        """Factors on the learning rates besides the schedule's: what a plateau has left of them."""
        network = variants.build(0)
        weights = stacked_weights(network, variants.seeds, start)
        self.stacked = StackedNetwork(network, {name: value.to(device) for name, value in weights.items()})
        groups = groups_of(network)
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._update = PackedUpdate(spec.optimizer, groups, variants.rates_stay_alike)
        self._rows_of_batch, self._device, self._schedule = rows_of_batch, device, spec.schedule
        self._noise = PackedNoise(variants.seeds, device, spec.training.accumulate, variants.mask_rates(network))
        changes = bool(spec.data.augmentation) or spec.regularization.mixing is not None
        self._augments = [Augment(variant.spec, device) for variant in variants] if changes else []
        records = records and device.type == "cpu"
        self._gradient = PackedGradient(self.stacked, variants, self._noise, self._parameters, records)
        self._clip = clipping(spec.regularization, records, stacked=True)
        self._constrain = self._constraints(records)
        averaging = spec.training.averaging
        self._precision = Precision.of(spec.training, device)
        self._average = WeightAverage(averaging, network, horizon) if averaging else None
        self._learning: tuple[bool, ...] = ()

    @property
    def replays(self) -> bool:
        """True when forward and backward pass of rows like those so far are replayed."""
        return self._gradient.replays

    @property
    def has_batch_norm(self) -> bool:
        """Whether batches of one row have no variance."""
        return self.stacked.network.has_batch_norm

    @property
    def arithmetic(self) -> Arithmetic:
        """How the steps computed: stacked products are in float32."""
        return Arithmetic(tf32=self._precision.tf32)

    def learning_rates(self, step: int) -> list[float]:
        """Return the rate of each job at a step."""
        factor = self._schedule.factor(step, self.horizon)
        pairs = zip(self.variants.learning_rates, self.reductions, strict=True)
        return [rate * reduction * factor for rate, reduction in pairs]

    def enter(self, epoch: int) -> None:
        """Let learn what does so in epoch `epoch`, counted from 0."""
        self.stacked.network.learn(epoch + 1)
        self._learning = tuple(parameter.requires_grad for parameter in self._parameters)
        self._gradient.begin()

    def begin(self) -> None:
        """Get ready to train: statistics move, noise is on."""
        self.stacked.network.train()
        self._precision.begin()
        self.stacked.set_noise(self._noise)
        self._gradient.begin()

    def end(self) -> None:
        """Get ready to predict: statistics are frozen, noise is off."""
        self.stacked.network.eval()
        self.close()
        self.stacked.set_noise(None)

    def close(self) -> None:
        """Let go of what others in this process may want, until the next step."""
        self._precision.end()

    @torch.no_grad()
    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Step on rows [K, R, ...]; return the mean losses [K] without penalties, and the outputs [K, R, O]."""
        batch = self._augment(batch, step)
        self._noise.step = step
        rates = self.learning_rates(step)
        found = self._pass(batch)
        if self._clip is not None:
            self._clip([gradient for gradient in found.gradients if gradient is not None])
        self._update(found.gradients, rates)
        self._shake(step, rates)
        if self._constrain is not None:
            self._constrain(self._learning)
        if self._average is not None:
            self._average.after_step(step + 1)
        return found.loss, found.output

    def outputs(self, x: Tensor, shared: bool) -> Tensor:
        """Return the outputs in prediction mode, [K, R, O]; `shared`: all jobs see the same rows, [R, ...]."""
        found: Tensor = self.stacked.run(lambda network, rows: network(rows), x, shared)
        return found

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Predict with the averages of the weights, where there are such, inside the block."""
        with self._average.in_place() if self._average else nullcontext():
            yield

    def weights(self, place: int) -> Tensors:
        """Return what a job predicts with, by name: where there are averages, those."""
        stacked = self.stacked.network.state_dict() | (self._average.tensors() if self._average else {})
        return {name: value[place] for name, value in stacked.items()}

    def save(self) -> Saved:
        """Return everything that a checkpoint keeps: tensors [K, ...] on the CPU, and JSON values."""
        tensors, rest = pack(self.stacked.network, self._update.optimizer)
        if self._average is None:
            return tensors, {"optimizer": rest, "averaged": 0}
        averages = {f"{AVERAGE}{name}": value for name, value in self._average.tensors().items()}
        return tensors | cpu(averages), {"optimizer": rest, "averaged": self._average.count}

    def restore(self, saved: Saved) -> None:
        """Go on from what `save` returned."""
        tensors, state = saved
        unpack(tensors, state["optimizer"], self.stacked.network, self._update.optimizer)
        if self._average is not None:
            self._average.restore(state["averaged"], below(tensors, AVERAGE))

    @staticmethod
    def take(saved: Saved, places: Sequence[int]) -> Saved:
        """Return of what `save` returned that of some jobs. Counts of steps are the same for all of them."""
        tensors, state = saved
        index = torch.tensor(places)
        return {name: value[index] if value.ndim else value for name, value in tensors.items()}, state

    def _augment(self, batch: Batch, step: int) -> Batch:
        if not self._augments:
            return batch
        rows = (Batch(*parts) for parts in zip(*batch.parts(), strict=True))
        changed = [augment(own, step).parts() for augment, own in zip(self._augments, rows, strict=True)]
        return Batch(*(torch.stack(parts) for parts in zip(*changed, strict=True)))

    def _pass(self, batch: Batch) -> Pass:
        """Return the pass of a step's rows, which are one batch or several."""
        size, rows = self._rows_of_batch, batch.y.shape[1]
        self._noise.part = 0
        if rows <= size:
            return self._gradient(batch)
        passes = []
        pieces = (torch.split(part, size, dim=1) for part in batch.parts())
        for number, cut in enumerate(zip(*pieces, strict=True)):
            self._noise.part = number
            passes.append(self._gradient(Batch(*cut), cut[1].shape[1] / rows))
            if number:
                add_(passes[0].gradients, passes[-1].gradients)
        losses, wholes, outputs, gradients = zip(*passes, strict=True)
        return Pass(torch.stack(losses).sum(0), torch.stack(wholes).sum(0), torch.cat(outputs, dim=1), gradients[0])

    def _constraints(self, records: bool) -> Recorded | None:
        network = self.stacked.network
        if not network.constrained:
            return None

        def constrain() -> Results:
            for rule in network.constrained:
                kernel = network.get_parameter(rule.parameter)
                if kernel.requires_grad:
                    torch.vmap(_projecting(rule.project_))(kernel.detach())
            return ()

        spec = self.variants.spec
        said = spec.network.model_dump_json(), spec.regularization.model_dump_json()
        return Recorded(constrain, list(network.parameters()), ("packed constraints", *said), records=records)

    def _shake(self, step: int, rates: Sequence[float]) -> None:
        """Add the noise of the schedule to every weight."""
        by_rate = {rate: self._schedule.noise(step, self.horizon, rate) for rate in set(rates)}
        if not any(by_rate.values()):
            return
        for place, seed in enumerate(self.variants.seeds):
            source = generator(seed, "anneal", step, device=self._device)
            for parameter in self._parameters:
                if parameter.requires_grad:
                    drawn = torch.randn(parameter.shape[1:], generator=source, device=self._device)
                    parameter[place].add_(drawn, alpha=by_rate[rates[place]])


def _projecting(project: Callable[[Tensor], None]) -> Callable[[Tensor], Tensor]:
    def projected(weight: Tensor) -> Tensor:
        project(weight)
        return weight

    return projected
