"""What an exported graph gives: probabilities, or numbers in the target's own units, as predictions have them.

Shape letters: R rows, O outputs of the network, K classes or labels, C target columns, Q quantiles.
"""

import torch
from torch import Tensor, nn

from service.blocks.distribution_losses import Quantile
from service.blocks.losses import Loss
from service.data.pipeline import TargetCodec
from service.predict.cache import LoadedModel

UNITS = {
    "probabilities": "of each class or label, in the order of `classes`",
    "mean": "in the target's own units",
    "aleatoric_std": "standard deviation of the target's own noise, in its own units",
    "predicted_quantiles": "[rows, levels, targets], in the target's own units",
}
"""Every output that a graph may have, and what it holds."""


class ClassOutputs(nn.Module):
    """From logits to probabilities, float32 [R, K]; behind a temperature where one is given."""

    names = ("probabilities",)
    temperature: Tensor | None

    def __init__(self, loss: Loss, temperature: Tensor | None) -> None:
        super().__init__()
        self.loss = loss
        self.register_buffer("temperature", None if temperature is None else temperature.float())

    def forward(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """Return the probabilities."""
        return (self.loss.link(outputs if self.temperature is None else outputs / self.temperature),)


class ValueOutputs(nn.Module):
    """From outputs to means, float64 [R, C], and what is known of the noise: its deviation, [R, C], or quantiles.

    `precision` (fitted, in the target's own units) and `factor` (on the predicted deviation) are those of a
    calibration, [C].
    """

    shift: Tensor
    scale: Tensor
    fitted: Tensor | None
    factor: Tensor | None

    def __init__(
        self, loss: Loss, target: TargetCodec, precision: Tensor | None = None, factor: Tensor | None = None
    ) -> None:
        super().__init__()
        self.loss = loss
        self.register_buffer("shift", torch.from_numpy(target.shift.copy()))
        self.register_buffer("scale", torch.from_numpy(target.scale.copy()))
        self.register_buffer("fitted", None if precision is None else precision.rsqrt())
        self.register_buffer("factor", None if factor is None else factor)
        noisy = precision is not None or loss.variance(torch.zeros(1, 2 * target.columns)) is not None
        quantiles = ("predicted_quantiles",) if isinstance(loss, Quantile) else ()
        self.names = ("mean", *(("aleatoric_std",) if noisy else ()), *quantiles)

    def forward(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """Return what `names` says."""
        found = [self._decoded(self.loss.link(outputs))]
        if self.fitted is not None:
            found.append(self.fitted + torch.zeros_like(found[0]))
        elif (variance := self.loss.variance(outputs)) is not None:
            deviation = variance.sqrt().double() * self.scale
            found.append(deviation if self.factor is None else deviation * self.factor)
        if isinstance(self.loss, Quantile):
            found.append(self._decoded(self.loss.quantiles(outputs).transpose(1, 2)))
        return tuple(found)

    def _decoded(self, values: Tensor) -> Tensor:
        return values.double() * self.scale + self.shift


def outputs_of(loaded: LoadedModel, calibrated: bool) -> ClassOutputs | ValueOutputs:
    """Return what makes answers of the network's outputs, with the model's calibration where it has one."""
    found = loaded.calibration if calibrated else None
    if loaded.target.task != "regression":
        return ClassOutputs(loaded.spec.loss, found.temperatures if found else None)
    noise = found.noise(loaded.spec.loss, loaded.target) if found else None
    return ValueOutputs(
        loaded.spec.loss, loaded.target, noise.precision if noise else None, noise.factor if noise else None
    )
