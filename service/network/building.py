"""Builds a network on torch's meta device, layer by layer, by running it: no shape arithmetic, no memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from service.blocks.activations import Activation
from service.blocks.base import Shape
from service.blocks.initializers import Uniform
from service.blocks.layers import Layer, ShapeError, TableLayer, WeightedLayer
from service.blocks.regularizers import Regularizer
from service.errors import InvalidSpec, Problem
from service.network.activity import ActivityRule
from service.network.learning import Learning, Surroundings
from service.network.modules import META, PROBE_ROWS, LayerRecord, Network, Stack, WeightRule
from service.network.resolution import (
    bias_initializer,
    felt_activation,
    kernel_constraint,
    kernel_initializer,
    last_weighted,
    layer_regularizer,
)
from service.spec import NetworkSpec, RegularizationSpec

MAX_NESTING = 8
MAX_LAYERS = 1_000
"""Most layers of a network, those inside of composite blocks counted."""
MAX_VALUES = 1 << 31
"""Most values that one row may have between two layers."""
DEFAULT_MAX_PARAMETERS = 1_000_000_000


def build_network(
    spec: NetworkSpec,
    regularization: RegularizationSpec,
    input_shape: Shape,
    outputs: int,
    max_parameters: int = DEFAULT_MAX_PARAMETERS,
    vocabulary: int | None = None,
) -> Network:
    """Build `spec` on torch's meta device for rows of `input_shape` and `outputs` numbers to predict.

    `vocabulary` is how many token ids there are where rows hold such.

    Raises:
        InvalidSpec: A layer cannot take the shape that arrives, the outputs are not as many as needed, the
            network is larger than `max_parameters`, or nothing learns; the path names the layer.
    """
    builder = _Builder(spec, regularization, outputs, max_parameters, vocabulary)
    around = Surroundings(spec.activation, first=True)
    layers = builder.stack(spec.layers, input_shape, "network.layers", "layers", around, top=True)
    last = builder.tops[-1]
    if last.output_shape != (outputs,):
        raise InvalidSpec([_wrong_outputs(builder, last)])
    network = Network(layers, builder.tops, builder.rules, builder.learning, builder.activities, builder.places)
    if builder.learning and not any(learning.at(1) for learning in builder.learning.values()):
        allowed = "at least one layer with weights and trainable: true"
        raise InvalidSpec([Problem("network.layers", "nothing learns: all of them are frozen at first", None, allowed)])
    return network.eval()


def _wrong_outputs(builder: "_Builder", last: LayerRecord) -> Problem:
    got, outputs = list(last.output_shape), builder.needed_outputs
    weighted = builder.tops[last_weighted(builder.spec.layers)]
    if list(weighted.output_shape[:1]) == got:
        fields = type(weighted.layer).model_fields
        name = next((name for name in ("units", "filters") if name in fields), None)
        path = weighted.path if name is None else f"{weighted.path}.{name}"
        auto = name == "units" and fields[name].annotation is not int
        message = f"the loss and the data call for {outputs} outputs, the network gives {got[0]}"
        return Problem(path, message, got[0], [outputs, "auto"] if auto else [outputs])
    message = f"the network must end in {outputs} numbers a row, it ends in the shape {got}"
    if len(got) > 1:
        message += "; put a flatten or global pooling layer before the last dense layer"
    return Problem(last.path, message, got, [outputs])


@dataclass
class _Builder:
    """Builds layers and gathers what is said about them."""

    spec: NetworkSpec
    regularization: RegularizationSpec
    needed_outputs: int
    max_parameters: int
    vocabulary: int | None = None
    tops: list[LayerRecord] = field(default_factory=list)
    places: dict[str, LayerRecord] = field(default_factory=dict)
    rules: list[WeightRule] = field(default_factory=list)
    activities: list[ActivityRule] = field(default_factory=list)
    learning: dict[str, Learning] = field(default_factory=dict)
    parameters: int = 0
    layers: int = 0
    depth: int = 0

    def stack(
        self,
        layers: Sequence[Layer],
        shape: Shape,
        path: str,
        prefix: str,
        around: Surroundings,
        *,
        top: bool = False,
        abreast: bool = False,
    ) -> Stack:
        """Build `layers` one after the other, or `abreast`, on rows of `shape`; `prefix` is where torch finds them."""
        if self.depth >= MAX_NESTING:
            raise InvalidSpec([Problem(path, f"layers may be nested {MAX_NESTING} deep", None, MAX_NESTING)])
        self.depth += 1
        stack, last = Stack(), last_weighted(layers) if top else -1
        for index, layer in enumerate(layers):
            place = f"{path}[{index}]"
            name = _name(layer, index, place, stack)
            following = layers[: index + 1] if abreast else layers
            own = around.at(layer, abreast or index == 0)
            context = _Context(self, following, index, place, f"{prefix}.{name}", index == last, own)
            module = self._module(layer, shape, context)
            out = self._run(module, layer, shape, place)
            self.places[place] = LayerRecord(name, place, layer, module, shape, out)
            if top:
                self.tops.append(self.places[place])
            stack[name] = module
            shape = shape if abreast else out
        self.depth -= 1
        return stack

    def _module(self, layer: Layer, shape: Shape, context: "_Context") -> nn.Module:
        self.layers += 1
        if self.layers > MAX_LAYERS:
            raise InvalidSpec([Problem(context.place, f"a network may have {MAX_LAYERS} layers", None, MAX_LAYERS)])
        before = self.parameters
        try:
            with META:
                module = layer.build(shape, context).eval()
        except ShapeError as error:
            raise InvalidSpec([_refusal(context.place, layer, shape, error.needed)]) from error
        # What the layer did not announce, and composite blocks, whose layers were counted one by one.
        self.parameters = max(self.parameters, before + sum(p.numel() for p in module.parameters()))
        self.check_size(context.place)
        self._rules(layer, module, context)
        for name, _ in module.named_parameters():
            # What layers inside of this one have said already includes what this one says.
            self.learning.setdefault(f"{context.prefix}.{name}", context.around.learning)
        return module

    def _run(self, module: nn.Module, layer: Layer, shape: Shape, place: str) -> Shape:
        try:
            with torch.no_grad():
                out: Shape = tuple(module(torch.empty(PROBE_ROWS, *shape, device=META)).shape[1:])
        except (RuntimeError, ValueError, IndexError, OverflowError, TypeError) as error:
            raise InvalidSpec([_refusal(place, layer, shape, f"another one: {str(error).splitlines()[0]}")]) from error
        if 0 in out or math.prod(out) > MAX_VALUES:
            needed = f"one that leaves between 1 and {MAX_VALUES:,} values a row, not {list(out)}"
            raise InvalidSpec([_refusal(place, layer, shape, needed)])
        return out

    def check_size(self, place: str) -> None:
        """Raise InvalidSpec when there are more parameters than allowed."""
        if self.parameters > self.max_parameters:
            message = f"with this layer the network has {self.parameters:,} parameters, more than this server allows"
            raise InvalidSpec([Problem(place, message, self.parameters, f"at most {self.max_parameters:,}")])

    def _rules(self, layer: Layer, module: nn.Module, context: "_Context") -> None:
        if isinstance(layer, TableLayer):
            penalty = self._penalty(layer.regularizer, module)
            rule = WeightRule("", layer.initializer or Uniform(), penalty, layer.constraint)
            names = [name for name, _ in module.named_parameters()]
            self.rules += [replace(rule, parameter=f"{context.prefix}.{name}") for name in names]
        if not isinstance(layer, WeightedLayer):
            return
        felt = felt_activation(context.layers, context.index, context.activation)
        penalty = self._penalty(layer_regularizer(layer, self.spec, self.regularization), module)
        constraint = kernel_constraint(layer, self.spec, self.regularization)
        kernel = WeightRule("", kernel_initializer(layer, felt, self.spec), penalty, constraint)
        bias = WeightRule("", bias_initializer(layer, self.spec))
        groups = int(getattr(layer, "groups", 1)) if layer.transposed else 0
        for name, parameter in module.named_parameters():
            if name.startswith("activation."):
                continue  # what an activation learns starts as the activation says
            owner, _, own = name.rpartition(".")
            starts = layer.starts(own, module.get_submodule(owner))
            rule = replace(kernel, groups=groups) if parameter.ndim > 1 else bias
            self.rules.append(replace(rule, parameter=f"{context.prefix}.{name}", starts=starts))

    def _penalty(self, regularizer: Regularizer | None, module: nn.Module) -> Regularizer | None:
        """Have the outputs of a module penalised; return what is left for its kernels, None for nothing."""
        if regularizer is not None and regularizer.on_activity:
            self.activities.append(ActivityRule(module, regularizer))
        return regularizer if regularizer is not None and regularizer.on_weights else None


@dataclass(frozen=True)
class _Context:
    """The `BuildContext` of one layer."""

    builder: _Builder
    layers: Sequence[Layer]
    index: int
    place: str
    prefix: str
    last: bool
    around: Surroundings

    @property
    def first(self) -> bool:
        return self.around.first

    @property
    def vocabulary(self) -> int | None:
        return self.builder.vocabulary

    @property
    def outputs(self) -> int | None:
        return self.builder.needed_outputs if self.last else None

    @property
    def activation(self) -> Activation | None:
        return None if self.last else self.around.activation

    def afford(self, *sizes: int) -> None:
        self.builder.parameters += math.prod(sizes)
        self.builder.check_size(self.place)

    def stack(self, layers: Sequence[Layer], shape: Shape, field: str) -> nn.Module:
        return self.builder.stack(layers, shape, *self._inside(field))

    def branches(self, layers: Sequence[Layer], shape: Shape, field: str) -> nn.ModuleDict:
        return self.builder.stack(layers, shape, *self._inside(field), abreast=True)

    def _inside(self, field: str) -> tuple[str, str, Surroundings]:
        around = self.around.inside(self.layers[self.index])
        return f"{self.place}.{field}", f"{self.prefix}.{field}", around


def _name(layer: Layer, index: int, place: str, stack: Stack) -> str:
    name = layer.name or f"{layer.type}_{index}"
    if name in stack:
        raise InvalidSpec([Problem(f"{place}.name", "is the name of another layer, too", name, "a new name")])
    if hasattr(stack, name):
        raise InvalidSpec([Problem(f"{place}.name", "is a name that torch keeps for itself", name, "another name")])
    return name


def _refusal(place: str, layer: Layer, shape: Shape, needed: str) -> Problem:
    return Problem(place, f"{layer.type} received the shape {list(shape)} and needs {needed}", list(shape), needed)
