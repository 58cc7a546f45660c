"""Loss, outputs and gradient of some rows: autograd's once for every shape, and its operations again from then on."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.blocks.noise import StepNoise
from service.network import Network
from service.spec import JobSpec
from worker.rows import Batch
from worker.training.augment import losses_of_rows
from worker.training.compiled import Compiler, Forward
from worker.training.layout import laid_out
from worker.training.precision import Precision
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
        self,
        network: Network,
        spec: JobSpec,
        noise: StepNoise,
        parameters: Sequence[Tensor],
        records: bool,
        precision: Precision,
        scale: Tensor | None = None,
    ) -> None:
        self._network, self._loss, self._noise, self._records = network, spec.loss, noise, records
        self._precision, self._scale = precision, scale
        self._parameters = parameters
        self._modes: tuple[bool, ...] = ()
        self._said = spec.network.model_dump_json(), spec.regularization.model_dump_json(), spec.loss.model_dump_json()
        self._recorded: dict[float, Recorded] = {}
        self._compiler = Compiler(network, noise) if spec.training.compile else None

    def begin(self) -> None:
        """Look at the network anew: parts of it may be in another mode than before, or frozen."""
        frozen = [parameter.requires_grad for parameter in self._network.parameters()]
        modes = (*[module.training for module in self._network.modules()], *frozen)
        if modes != self._modes:
            self._modes, self._recorded = modes, {}

    @property
    def compiled(self) -> bool:
        """True when the passes are compiled, and nothing has spoken against it so far."""
        return self._compiler is not None and self.compile_failure is None

    @property
    def compile_failure(self) -> str | None:
        """Why they are not compiled although the job asks for it."""
        return self._compiler.failure if self._compiler else None

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
        compiled = self.compiled
        loss, whole, output, *gradients = recorded((len(batch), len(given)), *given)
        if compiled and not self.compiled:
            self._recorded = {}
        assert loss is not None and whole is not None and output is not None
        return Pass(loss, whole, output, gradients)

    def _recording(self, share: float) -> Recorded:
        network, parameters, scale = self._network, self._parameters, self._scale
        forward = partial(_forward, loss=self._loss, share=share, precision=self._precision)
        take: Forward = partial(_plain, network, forward)
        if self._compiler and self.compiled:
            take = self._compiler.compiled(forward)

        def run(*given: Tensor) -> Results:
            return _passes(take, parameters, scale, given)

        held = [*network.parameters(), *network.buffers(), *([] if scale is None else [scale])]
        identity = ("gradient", *self._said, self._modes, share, self._precision.number)
        return Recorded(run, held, identity, Noisy(network, self._noise), self._records and not self.compiled)


def _plain(network: Network, forward: Callable[..., tuple[Tensor, Tensor, Tensor]], *given: Tensor) -> Any:
    return forward(network, given)


@torch.enable_grad()
def _passes(take: Forward, parameters: Sequence[Tensor], scale: Tensor | None, given: Sequence[Tensor]) -> Results:
    own, whole, output = take(*given)
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    found = iter(torch.autograd.grad(whole if scale is None else whole * scale, learning, allow_unused=True))
    gradients = [next(found) if parameter.requires_grad else None for parameter in parameters]
    return own.detach(), whole.detach(), output.detach(), *_scaled_back(owned(gradients, parameters), scale)


def _forward(
    network: Network, given: Sequence[Tensor], loss: Loss, share: float, precision: Precision
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, loss with penalties and outputs of a batch; its tensors have no gaps: mixed rows have all five."""
    batch = Batch(*given)
    with precision.forward():
        output = network(laid_out(network, batch.x, precision.channels_last))
    output = output.float()
    own = losses_of_rows(loss, output, batch).mean()
    penalty = network.penalty()
    whole = own if penalty is None else own + penalty
    if share != 1.0:
        own, whole = own * share, whole * share
    return own, whole, output


@torch.no_grad()
def _scaled_back(gradients: list[Tensor | None], scale: Tensor | None) -> list[Tensor | None]:
    """Take the factor on the loss out of its gradients, in place."""
    if scale is not None and (own := [gradient for gradient in gradients if gradient is not None]):
        torch._foreach_mul_(own, scale.reciprocal())
    return gradients


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
