"""What the pretrained blocks of a specification start from: found in the store, and written into them."""

from service.blocks.layers import Layer
from service.blocks.pretrained import Pretrained
from service.errors import InvalidSpec, NotFound, Problem
from service.network.tensors import Stored, StoredTensor, kept
from service.network.transfer import Origin
from service.predict.cache import rebuilt
from service.spec import JobSpec
from service.store import models, weights
from service.store.engine import Store

Sources = dict[str, Stored]
"""The stored tensors of pretrained blocks, by their places in the JSON."""


def look_up(store: Store, spec: JobSpec, held: frozenset[str] = frozenset()) -> tuple[JobSpec, Sources]:
    """Return the specification with the layers and the hashes of what it starts from, and those weights' tensors.

    A block whose hash is `held` stays as it is.

    Raises:
        InvalidSpec: There is no such source, it has no such layers, or other ones than the block says.
    """
    layers: list[Layer] = []
    sources, problems = Sources(), list[Problem]()
    for index, layer in enumerate(spec.network.layers):
        if isinstance(layer, Pretrained) and layer.weights_sha256 not in held:
            path = f"network.layers[{index}]"
            try:
                layer, sources[path] = _found(store, layer, path)
            except InvalidSpec as error:
                problems += error.problems
        layers.append(layer)
    if problems:
        raise InvalidSpec(problems)
    if not sources:
        return spec, sources
    network = spec.network.model_copy(update={"layers": layers})
    return spec.model_copy(update={"network": network}), sources


def _found(store: Store, block: Pretrained, path: str) -> tuple[Pretrained, Stored]:
    try:
        return _of_model(store, block, path) if block.from_model else _of_weights(store, block, path)
    except NotFound as error:
        allowed = 'the id of a model ("mdl_...") or of imported weights ("wts_...")'
        message = f"there {'is no model' if block.from_model else 'are no weights'} with this id"
        raise InvalidSpec([Problem(f"{path}.source", message, block.source, allowed)]) from error


def _of_weights(store: Store, block: Pretrained, path: str) -> tuple[Pretrained, Stored]:
    with store.read() as session:
        row = weights.get(session, block.source)
    tensors = {name: StoredTensor.model_validate(tensor) for name, tensor in row.tensors.items()}
    return _filled(block, path, row.sha256), tensors


def _of_model(store: Store, block: Pretrained, path: str) -> tuple[Pretrained, Stored]:
    with store.read() as session:
        row = models.get(session, block.source)
    if row.members is not None:
        message = "is an ensemble: start from a model of one network"
        raise InvalidSpec([Problem(f"{path}.source", message, block.source)])
    spec, features, network = rebuilt(row)
    origin = Origin(spec.network, network, int(row.preprocessing["outputs"]), features.vocabulary)
    layers = origin.cut(block, path)
    if block.layers not in (None, layers):
        message = "are not those of the model: leave them out"
        raise InvalidSpec([Problem(f"{path}.layers", message, None, [layer.name for layer in layers])])
    filled = _filled(block, path, row.weights_sha256).model_copy(update={"layers": layers})
    return filled, kept(network)


def _filled(block: Pretrained, path: str, sha256: str) -> Pretrained:
    if block.weights_sha256 not in (None, sha256):
        message = "the source has other weights: leave the hash out, or name the source that has them"
        raise InvalidSpec([Problem(f"{path}.weights_sha256", message, block.weights_sha256, sha256)])
    return block.model_copy(update={"weights_sha256": sha256})
