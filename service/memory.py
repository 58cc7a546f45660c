"""How much memory training takes: what autograd keeps, found by running the network on the meta device."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.blocks.noise import VALUES_AT_ONCE, StochasticModule
from service.errors import Problem
from service.network import META, PROBE_ROWS, Network
from service.spec import JobSpec

FLOAT_BYTES = 4
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class TrainingMemory:
    """An estimate, in bytes."""

    weights_bytes: int
    """The weights."""
    beside_bytes: int
    """What there is beside them while training: gradients, the optimizer's state, averages, best ones, a checkpoint."""
    row_bytes: int
    """What one row of a batch takes, forward and backward."""
    data_bytes: int = 0
    """The data set as tensors."""

    def of(self, rows: int) -> int:
        """Return the bytes of training with batches of so many rows."""
        return self.data_bytes + self.weights_bytes + self.beside_bytes + self.row_bytes * rows

    def most_rows(self, limit: int) -> int:
        """Return the largest batch that fits into `limit` bytes; 0 where none does."""
        return max(0, limit - self.of(0)) // max(1, self.row_bytes)

    def problem(self, spec: JobSpec, rows: int, limit: int) -> Problem | None:
        """Return what is wrong with training batches of so many rows in `limit` bytes; None where they fit."""
        if self.of(rows) <= limit:
            return None
        needs = f"needs about {size_in_words(self.of(rows))} of memory, and this server allows {size_in_words(limit)}"
        if most := self.most_rows(limit):
            message = f"training with batches of {rows:,} rows {needs}"
            return Problem("training.batch_size", message, spec.training.batch_size, f"at most {most:,}")
        if self.data_bytes > limit // 2:
            return Problem("data.dataset", f"the data set as numbers {needs}", self.data_bytes, f"at most {limit:,}")
        message = f"training this network with {spec.optimizer.type} {needs}, whatever the batch_size"
        return Problem("network", message, self.of(1), f"at most {limit:,}")


def training_memory(network: Network, spec: JobSpec, rows: int = 0) -> TrainingMemory:
    """Return what training a network, as `build_network` returned it, takes; `rows` are those of the data set."""
    averages = int(spec.training.averaging is not None)
    best = int(spec.regularization.early_stopping is not None or spec.replicas > 1)
    row = network.records[0].input_shape
    weights = sum(parameter.numel() for parameter in network.parameters()) * FLOAT_BYTES
    learning = sum(p.numel() for n, p in network.named_parameters() if network.learning[n].since is not None)
    # A checkpoint holds weights and state once more. What never learns has neither gradient nor state.
    copies = 1 + 2 * spec.optimizer.state_tensors + averages
    many = spec.replicas
    # Where networks train together, the masks of a block of steps are drawn for all of them.
    noise = 0 if many == 1 else 2 * VALUES_AT_ONCE * len(_noisy(network))
    return TrainingMemory(
        weights_bytes=many * weights,
        beside_bytes=many * (weights * (1 + best) + learning * FLOAT_BYTES * copies + noise),
        row_bytes=many * _row_bytes(network),
        data_bytes=rows * torch.Size(row).numel() * FLOAT_BYTES,
    )


def size_in_words(size: int) -> str:
    """Return a number of bytes as people say it."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if size >= unit // 10:
            return f"{size / unit:,.1f} {name}"
    return f"{size / KIB:,.0f} KiB"


def _row_bytes(network: Network) -> int:
    """Return what one row more adds to what the backward pass needs, and to what comes and goes on the way."""
    few, many = (_kept_bytes(network, rows) for rows in (PROBE_ROWS, PROBE_ROWS + 1))
    outputs = [2 * torch.Size(record.output_shape).numel() for record in network.records]
    inside = [int(getattr(module, "row_values", 0)) for module in network.modules()]
    return many - few + max(outputs + inside) * FLOAT_BYTES


def _noisy(network: Network) -> list[nn.Module]:
    """Return the modules that draw."""
    return [m for m in network.modules() if isinstance(m, StochasticModule) and getattr(m, "rate", True)]


def _kept_bytes(network: Network, rows: int) -> int:
    """Return the bytes of the tensors that autograd keeps of a batch, and of the masks of dropout."""
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}  # the tensors themselves: the storage of one that is gone may be another's

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in weights:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def mask(module: nn.Module, _: Any, output: Tensor) -> None:
        bits_and_product = torch.empty(2, *output.shape, device=META)
        kept[bits_and_product.untyped_storage()._cdata] = bits_and_product

    hooks = [module.register_forward_hook(mask) for module in _noisy(network)]
    was_training = network.training
    network.train()
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(torch.empty(rows, *network.records[0].input_shape, device=META))
    finally:
        network.train(was_training)
        network.activity.take()
        for hook in hooks:
            hook.remove()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
