"""What a layer leaves to the network: the activation, the initializer and the rules of a kernel that apply."""

from collections.abc import Iterable, Sequence

from service.blocks.activations import Activation, Linear
from service.blocks.initializers import Initializer, Zeros
from service.blocks.layers import Layer, WeightedLayer
from service.blocks.pretrained import Pretrained
from service.blocks.regularizers import Constraint, Regularizer
from service.blocks.reshaping import ActivationLayer
from service.spec import NetworkSpec, RegularizationSpec


def last_weighted(layers: Sequence[Layer]) -> int:
    """Return the position of the last layer with weights, the one that gives the outputs; -1 without any."""
    return max((i for i, layer in enumerate(layers) if isinstance(layer, WeightedLayer | Pretrained)), default=-1)


def felt_activation(layers: Sequence[Layer], index: int, default: Activation | None) -> Activation | None:
    """Return the activation that the outputs of layer `index` go through next, its own or one behind it.

    A normalisation, a dropout or a pooling in between changes nothing about which initializer suits it. A layer that
    bends its outputs by itself has none: its kernels feed its own gates, softmax or pieces.
    """
    layer = layers[index]
    if isinstance(layer, WeightedLayer) and layer.nonlinear:
        return None
    own = layer.activation if isinstance(layer, WeightedLayer) else None
    activation = own or default
    if activation is not None and not isinstance(activation, Linear):
        return activation
    return _behind(layers[index + 1 :]) or activation


def _behind(rest: Iterable[Layer]) -> Activation | None:
    for layer in rest:
        if isinstance(layer, ActivationLayer):
            return layer.activation
        if not layer.transparent:
            return None
    return None


def kernel_initializer(layer: WeightedLayer, felt: Activation | None, spec: NetworkSpec) -> Initializer:
    """Return how the kernel starts: the layer's word, the network's, else what suits the activation."""
    return layer.initializer or spec.initializer or suitable_initializer(felt)


def suitable_initializer(activation: Activation | None) -> Initializer:
    """Return the initializer that keeps the variance of signals through layers with this activation."""
    name = Activation.initializer if activation is None else activation.initializer
    return Initializer.members()[name].model_validate({})


def bias_initializer(layer: WeightedLayer, spec: NetworkSpec) -> Initializer:
    """Return how the bias starts: the layer's word, the network's, else zeros."""
    return layer.bias_initializer or spec.bias_initializer or Zeros()


def layer_regularizer(layer: WeightedLayer, spec: NetworkSpec, regularization: RegularizationSpec) -> Regularizer:
    """Return the penalty that applies to a layer: the layer's, the network's, else that of the whole job."""
    return layer.regularizer or spec.regularizer or Regularizer(l1=regularization.l1, l2=regularization.l2)


def kernel_constraint(layer: WeightedLayer, spec: NetworkSpec, regularization: RegularizationSpec) -> Constraint | None:
    """Return the constraint on the kernel: the layer's, the network's, else that of the whole job; None for none."""
    found = layer.constraint or spec.constraint or Constraint(max_norm=regularization.max_norm)
    return found if found.constrains else None
