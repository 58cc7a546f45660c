"""What training starts from besides chance: the weights of models, and imported ones."""

import tempfile
from typing import Any

import safetensors
from safetensors import SafetensorError

from service.blocks.pretrained import Pretrained
from service.errors import CorruptBlob, InvalidSpec, NotFound
from service.failures import WeightsGone
from service.network import LayerRecord, Network
from service.network.fitting import fit, put
from service.network.tensors import tensors_of
from service.store.blobs import read_blob
from service.store.engine import Store


def start_from_sources(store: Store, network: Network) -> Network:
    """Give the pretrained blocks of a network, in place, the weights that they start from; returns it.

    Raises:
        WeightsGone: They cannot be read, or are not those that were looked at when the job was submitted.
    """
    for record in network.records:
        if isinstance(record.layer, Pretrained):
            _fill(store, record, record.layer.weights_sha256 or "")
    return network


def _fill(store: Store, record: LayerRecord, sha256: str) -> None:
    try:
        # Through a file: of weights that are much larger than the network only those that it needs are in memory.
        with tempfile.NamedTemporaryFile(prefix="weights-") as copy:
            for piece in read_blob(store, sha256):
                copy.write(piece)
            copy.flush()
            with safetensors.safe_open(copy.name, framework="pt") as file:
                _take(record, file)
    except (NotFound, CorruptBlob, SafetensorError, InvalidSpec) as error:
        raise WeightsGone(f"The weights of {record.path}, {sha256}, cannot be read: {error}") from error


def _take(record: LayerRecord, file: Any) -> None:
    pairs = fit(record, tensors_of(file)).items()
    put(record.module, ((own, file.get_tensor(name)) for own, name in pairs))
