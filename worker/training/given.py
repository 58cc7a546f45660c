"""What a run is given: the network that its specification describes, and the data, in memory or streamed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from service.data.holding import size_of
from service.data.pipeline import input_shape_of, target_of, token_count_of
from service.errors import CorruptBlob, NotFound
from service.failures import DatasetGone
from service.memory import NetworkSize, Room, TrainingMemory, job_memory, room_of, rows_of_batch
from service.network import Network, build_network
from service.settings import Settings
from service.spec import JobSpec
from service.store import datasets
from service.store.engine import Store
from service.store.tables import Job
from worker.cache.streamed import load_streamed
from worker.data import columns_of, load
from worker.rows import TrainingData


@dataclass(frozen=True)
class Given:
    """A network on the meta device, data, and what training takes by estimate."""

    network: Network
    data: TrainingData
    memory: TrainingMemory
    size: int
    """Bytes of all rows."""
    place: str
    """Where the rows are: in "memory", or streamed from a file that was "written" now, or "found" in the cache."""


def given(
    store: Store, settings: Settings, job: Job, spec: JobSpec, device: torch.device, between: Callable[[], None]
) -> Given:
    """Return what the job is to have; `between` is called now and then while data are read, and may raise.

    Raises:
        DatasetGone: The bytes are no longer there, or fail their SHA-256.
        InvalidSpec: The rows do not fit the spec, or no network can be built for them.
        CacheFailed: The data are too large for memory, and the disk does not take them.
    """
    try:
        with store.read() as session:
            dataset = datasets.get(session, job.dataset)
        columns = columns_of(dataset)
        shape, outputs = input_shape_of(spec, columns), spec.loss.outputs(target_of(spec, columns))
        vocabulary, limit = token_count_of(spec, columns), settings.max_parameters
        network = build_network(spec.network, spec.regularization, shape, outputs, limit, vocabulary)
        size = size_of(spec, columns, shape, dataset.rows)
        batch, room = rows_of_batch(spec, dataset.rows), _room(settings, device)
        memory = job_memory(NetworkSize.of(network, spec.training.precision), spec, size, batch, room)
        if memory.disk_bytes:
            data, made = load_streamed(store, dataset, spec, size.bytes, settings, between)
            place = "written" if made else "found"
        else:
            data, place = load(store, dataset, spec, between), "memory"
    except (NotFound, CorruptBlob) as error:
        raise DatasetGone(f"The data set {job.dataset} cannot be read: {error}") from error
    return Given(network, data.to(device), memory, size.bytes, place)


def _room(settings: Settings, device: torch.device) -> Room:
    """Return what a job may take here: on a GPU, data have no more than half of its memory."""
    room = room_of(settings)
    if device.type != "cuda":
        return room
    own = torch.cuda.get_device_properties(device).total_memory
    return replace(room, data=min(room.data, own // 2))
