"""Whether jobs train as one stack of weights or one after the other, and why."""

import warnings
from collections.abc import Callable

import torch
from torch import nn

from service.blocks.schedules import Horizon
from service.network import Network
from service.summary import summarize
from worker.packed.batches import PackedBatches
from worker.packed.pack import Pack, Start
from worker.packed.step import Together
from worker.packed.turns import ByTurns
from worker.packed.variants import Variants
from worker.training.memory import ran_out
from worker.training.precision import Precision

MOST_WORK = 16_000_000
"""Multiply-adds of a batch through one network from which on a processor gains nothing from many at once."""
MOST_CONVOLVED = 4_000_000
"""The same where there are convolutions, which a processor runs better for one network at a time."""
TRIED_ROWS = 4

Build = Callable[[Variants], Pack]


def builder(
    variants: Variants, network: Network, start: Start, device: torch.device, horizon: Horizon, rows_of_batch: int
) -> tuple[Build, str | None]:
    """Return what makes a pack of jobs, and why it takes their steps one after the other; None: it takes them at once.

    `network` is that of the first job, on the meta device. What is chosen follows from the specification, the shapes
    and the kind of device, so that a run that goes on chooses the same.
    """

    def stacked(those: Variants) -> Pack:
        return Together(those, start, device, horizon, rows_of_batch)

    def by_turns(those: Variants) -> Pack:
        return ByTurns(those, start, device, horizon, rows_of_batch, precision)

    work = summarize(network).multiply_adds * rows_of_batch
    precision = Precision.of(variants.spec.training, device, work)

    why = _known(variants, network, precision, work) or _tried(variants, device, horizon, rows_of_batch)
    return (by_turns if why else stacked), why


def _known(variants: Variants, network: Network, precision: Precision, work: int) -> str | None:
    spec = variants.spec
    if spec.optimizer.searches:
        return f"the optimizer {spec.optimizer.type} looks at the loss as often as it likes"
    if spec.pretrain is not None:
        return "their layers are pre-trained one by one"
    if _has(network, nn.RNNBase):
        return "torch runs recurrent layers many times as fast for one network at a time"
    if precision.half is not None:
        return f"{precision.number} is for one network at a time"
    convolves = _has(network, nn.modules.conv._ConvNd)
    if precision.device.type == "cpu" and work > (MOST_CONVOLVED if convolves else MOST_WORK):
        return f"a batch takes {work:,} multiply-adds, so that there is nothing to gain"
    return None


def _has(network: Network, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in network.modules())


def _tried(variants: Variants, device: torch.device, horizon: Horizon, rows_of_batch: int) -> str | None:
    """Return what torch says where a step of two of the jobs, on few rows, cannot be taken at once."""
    few = variants.take(range(min(2, len(variants))))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of operations that torch would run one after the other anyway
            pack = Together(few, lambda network: None, device, horizon, rows_of_batch, records=False)
            rows = next(PackedBatches(few, pack.has_batch_norm).of(0))
            pack.begin()
            pack.enter(0)
            pack(type(rows)(*(part[:, :TRIED_ROWS] for part in rows.parts())), 0)
    except (RuntimeError, NotImplementedError, ValueError, UserWarning) as error:
        if ran_out(error):
            raise
        return f"torch has no form of them for many networks: {str(error).splitlines()[0]}"
    return None
