"""Which layers of a network can be trained as a deep belief network before training proper."""

from service.blocks.activations import Sigmoid
from service.blocks.dense import Dense
from service.blocks.dropout import AlphaDropout, Dropout, GaussianNoise
from service.blocks.layers import WeightedLayer
from service.blocks.reshaping import ActivationLayer, Flatten
from service.errors import InvalidSpec, Problem
from service.network.modules import LayerRecord, Network
from service.network.resolution import felt_activation, last_weighted
from service.spec import NetworkSpec

BETWEEN = (ActivationLayer, Flatten, Dropout, AlphaDropout, GaussianNoise)


def belief_stack(spec: NetworkSpec, network: Network) -> list[LayerRecord]:
    """Return the hidden layers, all dense with sigmoid.

    Raises:
        InvalidSpec: There are none, or a layer among them is another; the path names it.
    """
    last = last_weighted(spec.layers)
    hidden = network.records[:last]
    problems = [problem for record in hidden if (problem := _refusal(spec, record))]
    stack = [record for record in hidden if isinstance(record.layer, WeightedLayer)]
    if not stack:
        problems.append(Problem("pretrain", "needs a hidden dense layer", None, "hidden dense layers with sigmoid"))
    if problems:
        raise InvalidSpec(problems)
    return stack


def _refusal(spec: NetworkSpec, record: LayerRecord) -> Problem | None:
    layer = record.layer
    if isinstance(layer, Dense) and not layer.trainable:
        return Problem(f"{record.path}.trainable", "freezes weights that pre-training would change", False, [True])
    if isinstance(layer, Dense):
        felt = felt_activation(spec.layers, spec.layers.index(layer), spec.activation)
        if not isinstance(felt, Sigmoid):
            got = None if felt is None else felt.type
            message = "is pre-trained as a restricted Boltzmann machine, whose units are sigmoid"
            return Problem(f"{record.path}.activation", message, got, ["sigmoid"])
        if len(record.input_shape) != 1:
            shape = list(record.input_shape)
            message = f"received the shape {shape} and is pre-trained on vectors: put a flatten before it"
            return Problem(record.path, message, shape, "[features]")
        return None
    if isinstance(layer, BETWEEN):
        return None
    allowed = [str(kind.tag()) for kind in (Dense, *BETWEEN)]
    return Problem(record.path, "cannot stand between layers that are pre-trained", layer.type, allowed)
