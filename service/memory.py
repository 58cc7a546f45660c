"""How much memory training takes: what autograd keeps, found by running the network on the meta device."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from service.blocks.noise import VALUES_AT_ONCE, StochasticModule
from service.errors import Problem
from service.network import META, PROBE_ROWS, Network
from service.settings import Settings
from service.spec import JobSpec

FLOAT_BYTES = 4
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""The precisions in which the forward pass computes with numbers of 16 bits, and their types."""
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
WINDOW_BYTES = 8 * MIB
"""Rows that are put into the order of the epoch at one time; batches are looks at them."""
WINDOWS_AHEAD = 3
"""So many there are of rows from a file: those in use, those that come next, and what is left of the last."""
BESIDE_A_ROW = 28
"""Bytes in memory for each row wherever it is itself: its part, its place in the epoch, and what it counts."""


@dataclass(frozen=True)
class DataSize:
    """How large a data set is for a job."""

    rows: int
    row_bytes: int
    """What is held of the features of a row, and of its target."""
    at_once_bytes: int = 0
    """What a row takes besides, where the job needs all of them at once, as numbers: they are not streamed then."""

    @property
    def bytes(self) -> int:
        """All rows."""
        return self.rows * self.row_bytes

    @property
    def in_memory(self) -> int:
        """Bytes of memory with all rows there."""
        return self.bytes + self.rows * (BESIDE_A_ROW + self.at_once_bytes) + min(self.bytes, WINDOW_BYTES)

    @property
    def streamed(self) -> int:
        """Bytes of memory with the rows in a file."""
        return self.rows * BESIDE_A_ROW + WINDOWS_AHEAD * WINDOW_BYTES


NO_DATA = DataSize(0, 0)


@dataclass(frozen=True)
class Room:
    """What a job may take: bytes of memory in all, of those for data, and of the cache on the disk."""

    memory: int
    data: int
    cache: int


def room_of(settings: Settings) -> Room:
    """Return what the settings let a job take."""
    return Room(settings.memory_of_a_job, settings.data_in_memory, settings.cache_bytes)


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
    """What there is of the data set in memory."""
    disk_bytes: int = 0
    """The rows on the disk, from where they are streamed; 0: they are in memory."""

    def of(self, rows: int) -> int:
        """Return the bytes of training with batches of so many rows."""
        return self.data_bytes + self.weights_bytes + self.beside_bytes + self.row_bytes * rows

    def most_rows(self, limit: int) -> int:
        """Return the largest batch that fits into `limit` bytes; 0 where none does."""
        return max(0, limit - self.of(0)) // max(1, self.row_bytes)

    def problem(self, spec: JobSpec, rows: int, room: Room) -> Problem | None:
        """Return what is wrong with training batches of so many rows in this room; None where they fit."""
        if self.disk_bytes > room.cache:
            needs = f"the data are too large for memory, and take {size_in_words(self.disk_bytes)} of the disk"
            message = f"{needs}, of which this server allows {size_in_words(room.cache)}"
            return Problem("data.dataset", message, self.disk_bytes, f"at most {room.cache:,}")
        limit = room.memory
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


def rows_of_batch(spec: JobSpec, rows: int) -> int:
    """Return the rows of a batch of a data set of so many; no batch is larger than the data."""
    training = spec.data.split.training_rows(rows)
    batch = spec.training.rows_of_batch(training)
    return min(batch, training) if rows else batch


@dataclass(frozen=True)
class NetworkSize:
    """What of a network decides the memory that training it takes."""

    parameters: int
    learning: int
    """Those that ever learn."""
    noisy: int
    """The modules that draw."""
    row_bytes: int
    """What a row more takes, forward and backward."""

    @classmethod
    def of(cls, network: Network, precision: str) -> Self:
        """Return the size of a network, as `build_network` returned it; "auto" counts as float32, which takes more."""
        named = dict(network.named_parameters())
        learning = sum(p.numel() for name, p in named.items() if network.learning[name].since is not None)
        parameters = sum(p.numel() for p in named.values())
        return cls(parameters, learning, len(_noisy(network)), _row_bytes(network, HALVES.get(precision)))


def job_memory(network: NetworkSize, spec: JobSpec, data: DataSize, batch: int, room: Room) -> TrainingMemory:
    """Return what a job takes whose data are in memory where there is room for them, and streamed otherwise."""
    held = training_memory(network, spec, data.in_memory)
    fits = data.in_memory <= room.data and held.of(batch) <= room.memory
    if fits or data.at_once_bytes or data.streamed >= data.in_memory:
        return held
    return replace(held, data_bytes=data.streamed, disk_bytes=data.bytes)


def training_memory(network: NetworkSize, spec: JobSpec, data_bytes: int = 0) -> TrainingMemory:
    """Return what training a network of this size takes beside data of so many bytes."""
    half = spec.training.precision in HALVES
    averages = int(spec.training.averaging is not None)
    best = int(spec.regularization.early_stopping is not None or spec.replicas > 1)
    weights, learning = network.parameters * FLOAT_BYTES, network.learning * FLOAT_BYTES
    # A checkpoint holds weights and state once more. What never learns has neither gradient nor state.
    copies = 1 + 2 * spec.optimizer.state_tensors + averages
    many = spec.replicas
    # Where networks train together, the masks of a block of steps are drawn for all of them.
    noise = 0 if many == 1 else 2 * VALUES_AT_ONCE * network.noisy
    # In half precision the forward pass has copies of the weights that take half of their bytes.
    beside = weights * (1 + best) + learning * copies + weights // 2 * half + noise
    return TrainingMemory(many * weights, many * beside, many * network.row_bytes, data_bytes)


def size_in_words(size: int) -> str:
    """Return a number of bytes as people say it."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if size >= unit // 10:
            return f"{size / unit:,.1f} {name}"
    return f"{size / KIB:,.0f} KiB"


def _row_bytes(network: Network, half: torch.dtype | None) -> int:
    """Return what one row more adds to what the backward pass needs, and to what comes and goes on the way."""
    few, many = (_kept_bytes(network, rows, half) for rows in (PROBE_ROWS, PROBE_ROWS + 1))
    outputs = [2 * torch.Size(record.output_shape).numel() for record in network.records]
    inside = [int(getattr(module, "row_values", 0)) for module in network.modules()]
    return many - few + max(outputs + inside) * FLOAT_BYTES


def _noisy(network: Network) -> list[nn.Module]:
    """Return the modules that draw."""
    return [m for m in network.modules() if isinstance(m, StochasticModule) and getattr(m, "rate", True)]


def _kept_bytes(network: Network, rows: int, half: torch.dtype | None) -> int:
    """Return the bytes of the tensors that autograd keeps of a batch, and of the masks of dropout."""
    kept: dict[int, Tensor] = {}  # the tensors themselves: the storage of one that is gone may be another's

    def mask(module: nn.Module, _: Any, output: Tensor) -> None:
        bits_and_product = torch.empty(2, *output.shape, device=META)
        kept[bits_and_product.untyped_storage()._cdata] = bits_and_product

    hooks = [module.register_forward_hook(mask) for module in _noisy(network)]
    was_training = network.training
    network.train()
    try:
        with torch.enable_grad():
            _run(network, rows, kept, half)
    finally:
        network.train(was_training)
        network.activity.take()
        for hook in hooks:
            hook.remove()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _run(network: Network, rows: int, kept: dict[int, Tensor], half: torch.dtype | None) -> None:
    """Run a batch through a network that computes nothing, and gather what autograd keeps of it besides weights."""
    # Autocast knows real devices only, so in half precision tensors say that they are on one.
    fake = FakeTensorMode(allow_non_fake_inputs=True) if half else nullcontext()
    with fake, torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None):
        device = "cpu" if half else META
        named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        state = {name: _like(tensor, device) if half else tensor for name, tensor in named.items()}
        weights = {tensor.untyped_storage()._cdata for tensor in state.values()}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage()._cdata not in weights:
                kept[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            x = torch.empty(rows, *network.records[0].input_shape, device=device)
            torch.func.functional_call(network, state, x) if half else network(x)


def _like(tensor: Tensor, device: torch.device | str) -> Tensor:
    return torch.empty_like(tensor, device=device, requires_grad=tensor.requires_grad)
