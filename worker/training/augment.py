"""What a training step sees of its rows: augmented, mixed, and their losses in the shares of the mixture."""

import torch
from torch import Tensor

from service.blocks.losses import Loss
from service.randomness import generator
from service.spec import JobSpec
from worker.rows import Batch


class Augment:
    """Augments and mixes the rows of a step: a function of (seed, step)."""

    def __init__(self, spec: JobSpec, device: torch.device) -> None:
        self._steps, self._mixing = spec.data.augmentation, spec.regularization.mixing
        self._seed, self._device = spec.training.seed, device

    def __call__(self, batch: Batch, step: int) -> Batch:
        """Return the rows as step `step` is to see them; the batch itself where nothing changes them."""
        if not self._steps and self._mixing is None:
            return batch
        source = generator(self._seed, "augment", step, device=self._device)
        x = batch.x
        for augmentation in self._steps:
            x = augmentation.apply(x, source)
        if self._mixing is None:
            return Batch(x, batch.y, batch.weight)
        x, partner, share = self._mixing.mix(x, source)
        weight = torch.ones_like(share) if batch.weight is None else batch.weight
        return Batch(x, batch.y, weight * share, batch.y[partner], weight[partner] * (1 - share))


def losses_of_rows(loss: Loss, output: Tensor, batch: Batch) -> Tensor:
    """Return what each row adds to the loss, [rows]: weighted, and that of its partner with it."""
    own = loss.per_row(output, batch.y)
    if batch.weight is not None:
        own = own * batch.weight
    if batch.y_other is None or batch.weight_other is None:
        return own
    return own + loss.per_row(output, batch.y_other) * batch.weight_other
