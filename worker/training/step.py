"""One training step, behind a small interface."""

import torch
from torch import Tensor

from service.blocks.noise import StepNoise, set_noise
from service.blocks.optimizers import Group
from service.blocks.schedules import Horizon
from service.network import Network
from service.network.learning import Learning
from service.randomness import generator
from service.spec import JobSpec
from worker.crew.gradient import SharedGradient
from worker.crew.member import Member
from worker.crew.orders import Turn
from worker.crew.share import SharedNoise
from worker.rows import Batch
from worker.training.augment import Augment
from worker.training.clipping import clipping
from worker.training.gradient import Gradient, Pass
from worker.training.precision import Precision
from worker.training.recorded import Recorded, Results
from worker.training.scaling import LossScale
from worker.training.update import Update


class Step:
    """Forward, loss, penalties, backward, clipping, optimiser, constraints: a function of (state, batch, step).

    On a processor every part that can be is recorded at its first call and replayed afterwards (`recorded.py`); with
    `records` false all of it runs as it is written. Both give the same bits.
    """

    def __init__(
        self,
        network: Network,
        spec: JobSpec,
        device: torch.device,
        horizon: Horizon,
        rows_of_batch: int,
        records: bool = True,
        precision: Precision | None = None,
        crew: Member | None = None,
    ) -> None:
        """Have the passes computed by a `crew` where there is one; all else is done here."""
        self.network, self.horizon = network, horizon
        self.precision = precision or Precision.of(spec.training, device)
        self.scale = LossScale(device) if self.precision.half is torch.float16 else None
        self.reduction = 1.0
        """Factor on the learning rate besides the schedule's: what a plateau has left of it."""
        groups = groups_of(network)
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = spec.optimizer.build(groups)
        self._update = Update(self.optimizer, self._parameters)
        self._seed, self._device, self._rows_of_batch = spec.training.seed, device, rows_of_batch
        noise = StepNoise if crew is None else SharedNoise
        self._noise = noise(self._seed, 0, device, parts=spec.training.accumulate)
        self._augment = Augment(spec, device)
        records = records and device.type == "cpu"
        # A batch normalisation that looks at the rows of other processes is no operation that could be written down.
        alone = crew is None or not network.has_batch_norm
        scale = self.scale.factor if self.scale else None
        own = Gradient(network, spec, self._noise, self._parameters, records and alone, self.precision, scale)
        self._gradient: Gradient | SharedGradient = own
        if crew is not None and isinstance(self._noise, SharedNoise):
            self._gradient = SharedGradient(own, network, self._noise, crew)
        self._clip = clipping(spec.regularization, records)
        self._constrain = self._constraints(spec, records)
        self._schedule = spec.schedule
        self._base_rate, self._searches = spec.optimizer.learning_rate, spec.optimizer.searches
        self._rate: float | None = None
        self._learning: tuple[bool, ...] = ()

    @property
    def replays(self) -> bool:
        """True when forward and backward pass of rows like those so far are replayed."""
        return self._gradient.replays

    @property
    def compiled(self) -> bool:
        """True when forward pass and loss are compiled."""
        return self._gradient.compiled

    @property
    def compile_failure(self) -> str | None:
        """Why they are not although the job asks for it; None where they are, or nobody asks."""
        return self._gradient.compile_failure

    def learning_rate(self, step: int) -> float:
        """Return the rate of step `step`."""
        return self._base_rate * self.reduction * self._schedule.factor(step, self.horizon)

    def enter(self, epoch: int) -> None:
        """Let learn what does so in epoch `epoch`, counted from 0."""
        self.network.learn(epoch + 1)
        self._learning = tuple(parameter.requires_grad for parameter in self._parameters)
        self._gradient.begin()

    def begin(self) -> None:
        """Get the network ready to train: statistics move, noise is on."""
        self.network.train()
        self.precision.begin()
        set_noise(self.network, self._noise)
        self._gradient.begin()

    def end(self) -> None:
        """Get the network ready to predict: statistics are frozen, noise is off."""
        self.network.eval()
        self.close()
        set_noise(self.network, None)

    def close(self) -> None:
        """Let go of what others in this process may want, until the next step."""
        self.precision.end()

    @torch.no_grad()
    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Take one step; return the mean loss of its rows without penalties, and the outputs, both detached.

        Shape: outputs [rows, outputs].
        """
        batch = self._augment(batch, step)
        self._noise.step = step
        self._set_rate(self.learning_rate(step))
        found = self._search(batch) if self._searches else self._descend(batch)
        self._shake(step)
        if self._constrain is not None:
            self._constrain(self._learning)
        return found.loss, found.output

    @torch.no_grad()
    def follow(self, turn: Turn) -> None:
        """As a helper of a crew, compute what its owner asks for; no weight moves but as the owner says."""
        assert isinstance(self._gradient, SharedGradient)
        self._gradient.follow(turn)

    def _descend(self, batch: Batch) -> Pass:
        found = self._pass(batch)
        if self.scale is not None and not self.scale.accepts(found.gradients):
            return found
        if self._clip is not None:
            self._clip([gradient for gradient in found.gradients if gradient is not None])
        self._update(found.gradients)
        return found

    def _search(self, batch: Batch) -> Pass:
        """Let the optimiser look at the loss of the batch as often as it likes; every look has the same noise."""
        seen: list[Pass] = []

        def look() -> Tensor:
            seen.append(self._pass(batch))
            self._update.lend(seen[-1].gradients)
            return seen[-1].whole

        self.optimizer.step(look)  # type: ignore[arg-type]  # torch's optimizers take tensors, too
        self.optimizer.zero_grad(set_to_none=True)
        return seen[0]

    def _pass(self, batch: Batch) -> Pass:
        """Return the pass of a step's rows, which are one batch or several."""
        size, rows = self._rows_of_batch, len(batch)
        self._noise.part = 0
        if rows <= size:
            return self._gradient(batch)
        parts = []
        for part, start in enumerate(range(0, rows, size)):
            self._noise.part, cut = part, batch[start : start + size]
            parts.append(self._gradient(cut, len(cut) / rows))
            if part:
                add_(parts[0].gradients, parts[-1].gradients)
        losses, wholes, outputs, gradients = zip(*parts, strict=True)
        return Pass(torch.stack(losses).sum(), torch.stack(wholes).sum(), torch.cat(outputs), gradients[0])

    def _constraints(self, spec: JobSpec, records: bool) -> Recorded | None:
        if not self.network.constrained:
            return None

        def constrain() -> Results:
            self.network.constrain_()
            return ()

        identity = ("constraints", spec.network.model_dump_json(), spec.regularization.model_dump_json())
        return Recorded(constrain, list(self.network.parameters()), identity, records=records)

    def _shake(self, step: int) -> None:
        """Add the noise of the schedule to every weight."""
        std = self._schedule.noise(step, self.horizon, self._rate or 0.0)
        if std:
            source = generator(self._seed, "anneal", step, device=self._device)
            for parameter in self._parameters:
                if not parameter.requires_grad:
                    continue
                parameter.add_(torch.randn(parameter.shape, generator=source, device=self._device), alpha=std)

    def _set_rate(self, rate: float) -> None:
        if rate != self._rate:
            self._rate = rate
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group.get("factor", 1.0)


def groups_of(network: Network) -> list[Group]:
    """Return the parameters that learn in any epoch, together those that do so alike.

    Not even those of one factor that begin at different epochs are in one group: torch's fused SGD with momentum takes
    none of which some have a velocity and some have none yet.
    """
    groups: dict[Learning, Group] = {}
    for name, parameter in network.named_parameters():
        learning = network.learning[name]
        if learning.since is not None:
            groups.setdefault(learning, {"params": [], "factor": learning.factor})["params"].append(parameter)
    return list(groups.values())


def add_(sums: list[Tensor | None], gradients: list[Tensor | None]) -> None:
    """Add gradients to others in place; both lack the same ones."""
    pairs = [(a, b) for a, b in zip(sums, gradients, strict=True) if a is not None and b is not None]
    own, more = zip(*pairs, strict=True)
    torch._foreach_add_(own, more)
