"""From a specification to a torch module: built on the meta device, layer by layer, by running it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import safetensors.torch
import torch
from torch import Tensor, nn

from service.blocks.activations import Activation
from service.blocks.base import Shape
from service.blocks.initializers import Initializer, Zeros
from service.blocks.layers import Layer, ShapeError, WeightedLayer
from service.blocks.noise import StochasticModule, number_stochastic
from service.blocks.regularizers import Constraint, Regularizer
from service.blocks.reshaping import ActivationLayer
from service.errors import InvalidSpec, Problem
from service.randomness import generator
from service.spec import NetworkSpec, RegularizationSpec

META = torch.device("meta")
PROBE_ROWS = 2
MAX_NESTING = 8
DEFAULT_MAX_PARAMETERS = 1_000_000_000


@dataclass(frozen=True)
class LayerRecord:
    """A built layer: its block, its place in the JSON and the shapes around it (no batch dimension)."""

    name: str
    path: str
    layer: Layer
    module: nn.Module
    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True)
class WeightRule:
    """How a weight starts, and for kernels what penalises and constrains it."""

    parameter: str
    initializer: Initializer
    regularizer: Regularizer | None = None
    constraint: Constraint | None = None


class Stack(nn.ModuleDict):
    """Modules applied one after the other, by name."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last module."""
        for module in self.values():
            x = module(x)
        return x


class Network(nn.Module):
    """A built network.

    Shape: [batch, *input_shape] to [batch, outputs].
    """

    def __init__(self, layers: Stack, records: Sequence[LayerRecord], rules: Sequence[WeightRule]) -> None:
        super().__init__()
        self.layers = layers
        self.records = tuple(records)
        self.rules = tuple(rules)
        number_stochastic(self)
        tops = list(layers.items())
        self.stochastic_layers = [name for name, module in tops if _is_stochastic(module)]
        first = next((i for i, (_, module) in enumerate(tops) if _is_stochastic(module)), len(tops))
        self._before, self._behind = [m for _, m in tops[:first]], [m for _, m in tops[first:]]
        self.has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.modules())
        self.penalized = [(r.parameter, r.regularizer) for r in rules if r.regularizer is not None]
        self.constrained = [(r.parameter, r.constraint) for r in rules if r.constraint is not None]

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs: logits, or plain numbers for regression."""
        out: Tensor = self.layers(x)
        return out

    def prefix(self, x: Tensor) -> Tensor:
        """Return what reaches the first stochastic layer; the outputs where there is none."""
        for module in self._before:
            x = module(x)
        return x

    def suffix(self, x: Tensor) -> Tensor:
        """Return the outputs from what reaches the first stochastic layer."""
        for module in self._behind:
            x = module(x)
        return x

    @property
    def parameter_count(self) -> int:
        """Numbers that training changes."""
        return sum(p.numel() for p in self.parameters())

    def penalty(self) -> Tensor | None:
        """Return the sum of all penalties on kernels, a scalar; None where there are none."""
        terms = [regularizer.penalty(self.get_parameter(name)) for name, regularizer in self.penalized]
        return torch.stack(terms).sum() if terms else None

    def constrain_(self) -> None:
        """Project every constrained kernel in place."""
        for name, constraint in self.constrained:
            constraint.project_(self.get_parameter(name).data)

    def initialize(self, seed: int) -> None:
        """Give every weight its first value: a function of (seed, position of the weight)."""
        for module in self.modules():
            reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
            if reset is not None and isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
                reset()
        with torch.no_grad():
            for index, rule in enumerate(self.rules):
                weight = self.get_parameter(rule.parameter).data
                rule.initializer.fill(weight, generator(seed, "init", index))


def _is_stochastic(module: nn.Module) -> bool:
    return any(isinstance(m, StochasticModule) and getattr(m, "rate", 1) for m in module.modules())


def build_network(
    spec: NetworkSpec,
    regularization: RegularizationSpec,
    input_shape: Shape,
    outputs: int,
    max_parameters: int = DEFAULT_MAX_PARAMETERS,
) -> Network:
    """Build `spec` on torch's meta device for rows of `input_shape` and `outputs` numbers to predict.

    Raises:
        InvalidSpec: A layer cannot take the shape that arrives, the outputs are not as many as needed, or the
            network is larger than `max_parameters`; the path names the layer.
    """
    builder = _Builder(spec, regularization, outputs, max_parameters)
    with META:
        layers = builder.stack(spec.layers, input_shape, "network.layers", top=True)
    last = builder.records[-1] if not builder.records else _last_top(builder.records)
    if last.output_shape != (outputs,):
        raise InvalidSpec([_wrong_outputs(builder.weighted_last, last, outputs)])
    return Network(layers, builder.records, builder.rules)


def _last_top(records: Sequence[LayerRecord]) -> LayerRecord:
    return [r for r in records if r.path.count("layers[") == 1][-1]


def _wrong_outputs(weighted: LayerRecord | None, last: LayerRecord, outputs: int) -> Problem:
    got = list(last.output_shape)
    if len(got) == 1 and weighted is not None:
        field_name = "filters" if hasattr(weighted.layer, "filters") else "units"
        message = f"the loss and the data call for {outputs} outputs, the network gives {got[0]}"
        return Problem(f"{weighted.path}.{field_name}", message, got[0], [outputs, "auto"])
    message = f"the network must end in {outputs} numbers a row, it ends in the shape {got}"
    if len(got) > 1:
        message += "; put a flatten or global pooling layer before the last dense layer"
    return Problem(last.path, message, got, [outputs])


@dataclass
class _Builder:
    """Builds layers and gathers what is said about them; the context of every layer at the top."""

    spec: NetworkSpec
    regularization: RegularizationSpec
    needed_outputs: int
    max_parameters: int
    records: list[LayerRecord] = field(default_factory=list)
    rules: list[WeightRule] = field(default_factory=list)
    weighted_last: LayerRecord | None = None
    parameters: int = 0
    prefix: str = "layers"
    depth: int = 0

    def stack(self, layers: Sequence[Layer], shape: Shape, path: str, top: bool = False) -> Stack:
        """Build `layers` one after the other on rows of `shape`."""
        if self.depth >= MAX_NESTING:
            raise InvalidSpec([Problem(path, f"layers may be nested {MAX_NESTING} deep", None, MAX_NESTING)])
        self.depth += 1
        stack, used = Stack(), set[str]()
        last = max((i for i, layer in enumerate(layers) if isinstance(layer, WeightedLayer)), default=-1) if top else -1
        outer = self.prefix
        for index, layer in enumerate(layers):
            place = f"{path}[{index}]"
            name = _name(layer, index, place, used)
            self.prefix = f"{outer}.{name}"
            context = _Context(self, place, index == last)
            module, out = self._one(layer, shape, place, context)
            record = LayerRecord(name, place, layer, module, shape, out)
            self._rules(layers, index, record, context)
            self.records.append(record)
            if index == last:
                self.weighted_last = record
            stack[name], shape = module, out
        self.prefix = outer
        self.depth -= 1
        return stack

    def _one(self, layer: Layer, shape: Shape, place: str, context: "_Context") -> tuple[nn.Module, Shape]:
        try:
            module = layer.build(shape, context).eval()
            self._count(module, place)
            with torch.no_grad():
                out = module(torch.empty(PROBE_ROWS, *shape, device=META))
        except ShapeError as error:
            raise InvalidSpec([_shape_problem(place, layer, shape, error.needed)]) from error
        except (RuntimeError, ValueError, IndexError, OverflowError, TypeError) as error:
            raise InvalidSpec([_shape_problem(place, layer, shape, str(error).splitlines()[0])]) from error
        if 0 in out.shape:
            raise InvalidSpec([_shape_problem(place, layer, shape, "a shape that leaves something over")])
        return module, tuple(out.shape[1:])

    def _count(self, module: nn.Module, place: str) -> None:
        self.parameters += sum(p.numel() for p in module.parameters())
        if self.parameters > self.max_parameters:
            message = f"the network has more than {self.max_parameters:,} parameters with this layer"
            raise InvalidSpec([Problem(place, message, self.parameters, self.max_parameters)])

    def _rules(self, layers: Sequence[Layer], index: int, record: LayerRecord, context: "_Context") -> None:
        layer = record.layer
        if not isinstance(layer, WeightedLayer):
            return
        behind = layer.activation or context.activation or _activation_behind(layers[index + 1 :])
        kernel = layer.initializer or self.spec.initializer or _suitable(behind)
        bias = layer.bias_initializer or self.spec.bias_initializer or Zeros()
        regularizer = layer.regularizer or self.spec.regularizer or self._network_wide()
        constraint = layer.constraint or self.spec.constraint or self._constraint()
        for name, parameter in record.module.named_parameters():
            full = f"{self.prefix}.{name}"
            if parameter.ndim > 1:
                self.rules.append(WeightRule(full, kernel, regularizer, constraint))
            elif name.endswith("bias"):
                self.rules.append(WeightRule(full, bias))

    def _network_wide(self) -> Regularizer | None:
        l1, l2 = self.regularization.l1, self.regularization.l2
        return Regularizer(l1=l1, l2=l2) if l1 or l2 else None

    def _constraint(self) -> Constraint | None:
        limit = self.regularization.max_norm
        return None if limit is None else Constraint(max_norm=limit)


@dataclass(frozen=True)
class _Context:
    """The `BuildContext` of one layer."""

    builder: _Builder
    place: str
    last: bool

    @property
    def outputs(self) -> int | None:
        return self.builder.needed_outputs if self.last else None

    @property
    def activation(self) -> Activation | None:
        return None if self.last else self.builder.spec.activation

    def stack(self, layers: Sequence[Layer], shape: Shape, field: str) -> nn.Module:
        return self.builder.stack(layers, shape, f"{self.place}.{field}")


def _name(layer: Layer, index: int, place: str, used: set[str]) -> str:
    name = layer.name or f"{layer.type}_{index}"
    if name in used:
        raise InvalidSpec([Problem(f"{place}.name", "two layers have this name", name, "a name of its own")])
    if hasattr(Stack, name) or name in ("training", "_modules"):
        raise InvalidSpec([Problem(f"{place}.name", "this name is reserved", name, "another name")])
    used.add(name)
    return name


def _shape_problem(place: str, layer: Layer, shape: Shape, needed: str) -> Problem:
    return Problem(place, f"{layer.type} received the shape {list(shape)} and needs {needed}", list(shape), needed)


def _activation_behind(rest: Iterable[Layer]) -> Activation | None:
    """Return the activation of the next activation layer, looking past normalisation and dropout."""
    for layer in rest:
        if isinstance(layer, ActivationLayer):
            return layer.activation
        if not (layer.normalizes or layer.stochastic):
            return None
    return None


def _suitable(activation: Activation | None) -> Initializer:
    name = type(activation).initializer if activation is not None else Activation.initializer
    return Initializer.members()[name]()  # type: ignore[call-arg]


def materialize(network: Network, seed: int) -> Network:
    """Give a network built on the meta device memory on the CPU and its first weights; returns it."""
    network.to_empty(device="cpu")
    network.initialize(seed)
    return network


def save_weights(network: nn.Module) -> bytes:
    """Return every weight and buffer as safetensors; the same weights give the same bytes."""
    return safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()})


def load_weights(network: nn.Module, data: bytes) -> None:
    """Put weights from `save_weights` into a network that has memory.

    Raises:
        RuntimeError: The names or shapes are not those of this network.
    """
    network.load_state_dict(safetensors.torch.load(data), strict=True)
