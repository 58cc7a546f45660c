"""Loss, outputs and gradient of some rows: autograd's once for every shape, and its operations again from then on."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from service.blocks.losses import Loss
from service.blocks.noise import StepNoise
from service.network import Network
from service.spec import JobSpec
from worker.data import Batch
from worker.training.augment import losses_of_rows
from worker.training.recorded import Noisy, Recorded, Results


class Pass(NamedTuple):
    """What a forward and a backward pass give: the mean loss of the rows, that with penalties, the outputs, gradients.

    The gradient is a list in the order of the trained parameters, None where the loss does not depend on one.
    Shape: outputs [rows, outputs].
    """

    loss: Tensor
    whole: Tensor
    output: Tensor
    gradients: list[Tensor | None]


class Gradient:
    """The passes of one network, with the noise of the step.

    What is replayed follows from the specification and the shapes alone, and has the bits of what autograd does.
    """

    def __init__(
        self, network: Network, spec: JobSpec, noise: StepNoise, parameters: Sequence[Tensor], records: bool
    ) -> None:
        self._network, self._loss, self._noise, self._records = network, spec.loss, noise, records
        self._parameters = parameters
        self._modes: tuple[bool, ...] = ()
        self._said = spec.network.model_dump_json(), spec.regularization.model_dump_json(), spec.loss.model_dump_json()
        self._recorded: dict[float, Recorded] = {}

    def begin(self) -> None:
        """Look at the network anew: parts of it may be in another mode than before, or frozen."""
        frozen = [parameter.requires_grad for parameter in self._network.parameters()]
        modes = (*[module.training for module in self._network.modules()], *frozen)
        if modes != self._modes:
            self._modes, self._recorded = modes, {}

    @property
    def replays(self) -> bool:
        """True when rows like those so far are replayed."""
        return all(recorded.replays for recorded in self._recorded.values())

    def __call__(self, batch: Batch, share: float = 1.0) -> Pass:
        """Return the pass of these rows, which are a `share` of a step: loss and gradient are that much of theirs."""
        recorded = self._recorded.get(share)
        if recorded is None:
            recorded = self._recorded[share] = self._recording(share)
        parts = (batch.x, batch.y, batch.weight, batch.y_other, batch.weight_other)
        given = [part.contiguous() for part in parts if part is not None]
        loss, whole, output, *gradients = recorded((len(batch), len(given)), *given)
        assert loss is not None and whole is not None and output is not None
        return Pass(loss, whole, output, gradients)

    def _recording(self, share: float) -> Recorded:
        network, loss, parameters = self._network, self._loss, self._parameters

        def run(*given: Tensor) -> Results:
            return _passes(network, loss, parameters, _batch(given), share)

        held = [*network.parameters(), *network.buffers()]
        identity = ("gradient", *self._said, self._modes, share)
        return Recorded(run, held, identity, Noisy(network, self._noise), self._records)


def _batch(given: Sequence[Tensor]) -> Batch:
    """Return the batch behind tensors without gaps: mixed rows have all five."""
    return Batch(*given)


@torch.enable_grad()
def _passes(network: Network, loss: Loss, parameters: Sequence[Tensor], batch: Batch, share: float) -> Results:
    output = network(_laid_out(network, batch.x))
    own = losses_of_rows(loss, output, batch).mean()
    penalty = network.penalty()
    whole = own if penalty is None else own + penalty
    if share != 1.0:
        own, whole = own * share, whole * share
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    found = iter(torch.autograd.grad(whole, learning, allow_unused=True))
    gradients = [next(found) if parameter.requires_grad else None for parameter in parameters]
    return own.detach(), whole.detach(), output.detach(), *owned(gradients, parameters)


def _laid_out(network: Network, x: Tensor) -> Tensor:
    """Return images with their channels last in memory, where kernels run over all channels of a pixel at once.

    On a processor convolution and pooling, forward and backward, take two thirds of the time so.
    """
    convolves = x.ndim == 4 and x.device.type == "cpu" and any(isinstance(m, nn.Conv2d) for m in network.modules())
    # Not `contiguous`, which finds nothing to do where there is one channel.
    return x.to(memory_format=torch.channels_last) if convolves else x


@torch.no_grad()
def owned(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Give every gradient memory of its own, laid out as its parameter is: what comes next works in place."""
    taken = {parameter.untyped_storage()._cdata for parameter in parameters}
    owned: list[Tensor | None] = []
    for gradient, parameter in zip(gradients, parameters, strict=True):
        if gradient is not None:
            memory = gradient.untyped_storage()._cdata
            if memory in taken or gradient.stride() != parameter.stride():
                gradient = torch.empty_like(parameter, requires_grad=False).copy_(gradient)
            taken.add(gradient.untyped_storage()._cdata)
        owned.append(gradient)
    return owned
