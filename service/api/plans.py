"""What training a specification takes. Its network is built to know, once for all who ask for the same one."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch

from service.api.sources import Sources
from service.blocks.base import Shape
from service.data.pipeline import check_shape
from service.errors import InvalidSpec, Problem
from service.memory import NO_DATA, DataSize, NetworkSize, TrainingMemory, job_memory, room_of, rows_of_batch
from service.network import META, Network, build_network
from service.network.beliefs import belief_stack
from service.network.fitting import fit
from service.settings import Settings
from service.spec import JobSpec

MOST_KNOWN = 1024
_known: dict[bytes, NetworkSize] = {}
"""The sizes of networks that were built here, by all that decides them: a sweep sends one network many times."""


@dataclass(frozen=True)
class Plan:
    """A specification, the network that it describes, on the meta device, and what training it takes."""

    draft: "_Draft"
    memory: TrainingMemory
    batch_rows: int

    @property
    def spec(self) -> JobSpec:
        """The specification."""
        return self.draft.spec

    @property
    def network(self) -> Network:
        """The network, which is built now unless that was needed before."""
        return self.draft.network

    @property
    def input_shape(self) -> Shape:
        """The shape of a row as it reaches the first layer."""
        return self.draft.shape

    @property
    def outputs(self) -> int:
        """How many numbers the loss needs."""
        return self.draft.outputs


def build(
    settings: Settings,
    spec: JobSpec,
    shape: Shape,
    outputs: int,
    vocabulary: int | None = None,
    data: DataSize = NO_DATA,
    sources: Sources | None = None,
) -> Plan:
    """Build the network on the meta device, unless the same one is known, and see that stored tensors fit it.

    Raises:
        InvalidSpec: A layer, an augmentation or mixing cannot take what arrives, a pretrained block not its tensors,
            or it is too large to train here.
    """
    draft = _Draft(spec, shape, outputs, vocabulary, settings.max_parameters, sources or {})
    refused = check_shape(spec, shape)
    try:
        size = draft.size()
    except InvalidSpec as error:
        raise InvalidSpec([*refused, *error.problems]) from error
    if refused:
        raise InvalidSpec(refused)
    batch, room = rows_of_batch(spec, data.rows), room_of(settings)
    memory = job_memory(size, spec, data, batch, room)
    problem = memory.problem(spec, batch, room) or (_lonely(draft) if batch == 1 else None)
    if problem is not None:
        raise InvalidSpec([problem])
    return Plan(draft, memory, batch)


@dataclass(frozen=True)
class _Draft:
    """All that decides a network."""

    spec: JobSpec
    shape: Shape
    outputs: int
    vocabulary: int | None
    max_parameters: int
    sources: Sources

    @cached_property
    def network(self) -> Network:
        """The network on the meta device.

        Raises:
            InvalidSpec: It cannot be built, or stored tensors do not fit it.
        """
        spec = self.spec
        network = build_network(
            spec.network, spec.regularization, self.shape, self.outputs, self.max_parameters, self.vocabulary
        )
        if spec.pretrain is not None:
            belief_stack(spec.network, network)
        for record in network.records:
            if record.path in self.sources:
                fit(record, self.sources[record.path])
        return network

    def size(self) -> NetworkSize:
        """Return how large the network is.

        Raises:
            InvalidSpec: It cannot be built, or stored tensors do not fit it.
        """
        precision = self.spec.training.precision
        if self.sources or self.spec.pretrain is not None:
            return NetworkSize.of(self.network, precision)
        parts = (self.spec.network.model_dump_json(), self.spec.regularization.model_dump_json())
        beside = (self.shape, self.outputs, self.vocabulary, self.max_parameters, precision)
        key = hashlib.sha256(repr((*parts, *beside)).encode()).digest()
        size = _known.get(key)
        if size is None:
            size = NetworkSize.of(self.network, precision)
            if len(_known) >= MOST_KNOWN:
                _known.clear()
            _known[key] = size
        return size


def _lonely(draft: _Draft) -> Problem | None:
    """Return what is wrong with batches of one row: of one number a channel there is no variance."""
    network = draft.network
    if not network.has_batch_norm:
        return None
    network.train()
    try:
        with torch.no_grad():
            network(torch.empty(1, *network.records[0].input_shape, device=META))
    except ValueError:
        message = "batch_norm behind a vector needs batches of at least 2 rows: one row has no variance"
        return Problem("training.batch_size", message, draft.spec.training.batch_size, 'at least 2, or "layer_norm"')
    finally:
        network.eval()
    return None
