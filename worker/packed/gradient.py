"""Losses, outputs and gradients of the rows of several jobs: one pass, written down once and replayed.

Shape letters: K jobs, R rows, O outputs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from service.blocks.noise import Noise
from service.network import Network
from service.network.stacked import StackedNetwork
from worker.packed.variants import Variants
from worker.rows import Batch
from worker.training.augment import losses_of_rows
from worker.training.gradient import Pass, owned
from worker.training.recorded import Heard, Noisy, Recorded, Results
from worker.training.tape import Tape


@dataclass(frozen=True)
class StackedNoisy(Noisy):
    """A stacked network, and the noise of all of its members."""

    stacked: StackedNetwork

    @contextmanager
    def heard(self, tape: Tape) -> Iterator[Heard]:
        """Have the tape told of the noise inside the block."""
        heard = Heard(self.noise, tape)
        self.stacked.set_noise(heard)
        try:
            yield heard
        finally:
            self.stacked.set_noise(self.noise)


class PackedGradient:
    """The passes of a stacked network, with the noise of the step.

    The members' losses are added up and differentiated together: none of them depends on the weights of another.
    """

    def __init__(
        self, stacked: StackedNetwork, variants: Variants, noise: Noise, parameters: Sequence[Tensor], records: bool
    ) -> None:
        self._stacked, self._loss, self._parameters = stacked, variants.spec.loss, parameters
        self._noisy, self._records = StackedNoisy(stacked.network, noise, stacked), records
        self._penalties = variants.penalties(stacked.network, parameters[0].device)
        spec = variants.spec
        said = spec.network.model_dump_json(), spec.regularization.model_dump_json(), spec.loss.model_dump_json()
        penalized = tuple((name, p.l1 is None, p.l2 is None) for name, p in self._penalties.items())
        self._said = (*said, penalized)
        self._modes: tuple[bool, ...] = ()
        self._recorded: dict[float, Recorded] = {}

    def begin(self) -> None:
        """Look at the network anew: parts of it may be in another mode than before, or frozen."""
        network = self._stacked.network
        frozen = [parameter.requires_grad for parameter in network.parameters()]
        modes = (*[module.training for module in network.modules()], *frozen)
        if modes != self._modes:
            self._modes, self._recorded = modes, {}

    @property
    def replays(self) -> bool:
        """True when rows like those so far are replayed."""
        return all(recorded.replays for recorded in self._recorded.values())

    def __call__(self, batch: Batch, share: float = 1.0) -> Pass:
        """Return the pass of these rows, [K, R, ...], which are a `share` of a step.

        Shape: loss and whole [K], output [K, R, O], gradients [K, ...].
        """
        recorded = self._recorded.get(share)
        if recorded is None:
            recorded = self._recorded[share] = self._recording(share)
        parts = (batch.x, batch.y, batch.weight, batch.y_other, batch.weight_other)
        given = [part.contiguous() for part in parts if part is not None]
        loss, whole, output, *gradients = recorded((batch.y.shape[1], len(given)), *given)
        assert loss is not None and whole is not None and output is not None
        return Pass(loss, whole, output, gradients)

    def _recording(self, share: float) -> Recorded:
        network = self._stacked.network
        weights = [weight for penalty in self._penalties.values() for weight in penalty if weight is not None]
        held = [*network.parameters(), *network.buffers(), *weights]
        identity = ("packed gradient", self._stacked.count, *self._said, self._modes, share)
        return Recorded(lambda *given: self._run(given, share), held, identity, self._noisy, self._records)

    @torch.enable_grad()
    def _run(self, given: Sequence[Tensor], share: float) -> Results:
        count, rows = given[1].shape[:2]
        output, activity = self._stacked.run(_outputs_and_penalty, given[0])
        # What a row adds to the loss looks at no other row, so that those of all jobs are rows alike.
        flat = Batch(*[part.flatten(0, 1) for part in given])
        own = losses_of_rows(self._loss, output.flatten(0, 1), flat).view(count, rows).mean(1)
        whole = own + activity + self._penalty()
        if share != 1.0:
            own, whole = own * share, whole * share
        learning = [parameter for parameter in self._parameters if parameter.requires_grad]
        found = iter(torch.autograd.grad(whole.sum(), learning, allow_unused=True))
        gradients = [next(found) if parameter.requires_grad else None for parameter in self._parameters]
        return own.detach(), whole.detach(), output.detach(), *owned(gradients, self._parameters)

    def _penalty(self) -> Tensor | float:
        """Return the penalties on the kernels that learn, [K]."""
        kernels = [(self._stacked.network.get_parameter(name), p) for name, p in self._penalties.items()]
        terms = [penalty.of(kernel) for kernel, penalty in kernels if kernel.requires_grad]
        return torch.stack(terms).sum(0) if terms else 0.0


def _outputs_and_penalty(network: Network, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs of a member, and the penalties on what its layers gave."""
    output = network(x)
    penalties = network.activity.take()
    return output, torch.stack(penalties).sum() if penalties else output.new_zeros(())
