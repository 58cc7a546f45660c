"""One checker that every block of every family passes: a new block is tested without editing a test."""

import copy
import math
from typing import Annotated, Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from service.blocks.activations import Activation
from service.blocks.augmentation import Augmentation
from service.blocks.base import Block, OneOf, Shape
from service.blocks.initializers import Initializer
from service.blocks.layers import Layer, WeightedLayer
from service.blocks.losses import Loss, Target
from service.blocks.metrics import Metric
from service.blocks.mixing import Mixing
from service.blocks.noise import StepNoise, set_noise
from service.blocks.optimizers import Optimizer
from service.blocks.schedules import Horizon, Schedule
from service.catalog import FAMILIES
from service.errors import InvalidSpec
from service.network import Network, build_network, materialize
from service.spec import NetworkSpec, RegularizationSpec

SHAPES: tuple[Shape, ...] = ((6,), (4, 6), (4, 6, 6), (4, 6, 6, 6))
TOKENS = 10
OUTPUTS = 3
CPU = torch.device("cpu")
BESIDES: dict[str, dict[str, Any]] = {"pretrained": {"layers": ["layer_norm"]}}
"""What a block of this name needs besides its required fields: here nobody looks up what a source has."""


def cases(*families: type[Block]) -> pytest.MarkDecorator:
    found = [member for family in families for member in family.members().values()]
    return pytest.mark.parametrize("block", found, ids=lambda block: f"{block.family}-{block.tag()}")


def sample(field: dict[str, Any]) -> Any:
    """Return a value that a JSON Schema allows."""
    if "examples" in field:
        return field["examples"][0]
    if field.get("type") == "array":
        return [sample(field["items"])]
    if "x-family" in field:
        names = next(option["enum"] for option in field["anyOf"] if "enum" in option)
        return "layer_norm" if "layer_norm" in names else names[0]  # a layer that takes and keeps any shape
    if "const" in field or "enum" in field:
        return field.get("const", field.get("enum", [None])[0])
    if "anyOf" in field:
        return sample(
            next(option for option in field["anyOf"] if option.get("type") in ("integer", "number", "string"))
        )
    low = field.get("minimum", field.get("exclusiveMinimum", 0))
    return {"integer": max(2, low), "number": low + 0.3, "string": "text", "boolean": True}[field["type"]]


def smallest(block: type[Block]) -> dict[str, Any]:
    """Return the shortest JSON object of a block."""
    schema = block.object_schema()
    needed = {name: sample(schema["properties"][name]) for name in schema.get("required", [])}
    return {"type": block.tag(), **needed, **BESIDES.get(str(block.tag()), {})}


def network(body: dict[str, Any], shape: Shape) -> Network:
    layers = [body, {"type": "flatten"}, {"type": "dense", "units": "auto"}]
    spec = NetworkSpec.model_validate({"layers": layers})
    return build_network(spec, RegularizationSpec(), shape, OUTPUTS, vocabulary=TOKENS)


def inputs_of(net: Network, count: int, *shape: int) -> torch.Tensor:
    """Return rows that a network takes: numbers, or token ids where it begins with an embedding."""
    source = torch.Generator().manual_seed(0)
    if net.records[0].layer.type == "embedding":
        return torch.randint(TOKENS, (count, *shape), generator=source).float()
    return torch.randn(count, *shape, generator=source)


def built(body: dict[str, Any]) -> list[tuple[Network, Shape]]:
    """Return networks around a layer, one for each shape that it takes."""
    found = []
    for shape in SHAPES:
        try:
            found.append((network(body, shape), shape))
        except InvalidSpec as error:
            assert error.problems[0].path == "network.layers[0]"
    assert found, f"takes none of {SHAPES}"
    return found


@cases(*FAMILIES)
def test_is_documented(block: type[Block]) -> None:
    schema = block.object_schema()
    assert schema["description"].strip()
    undocumented = [n for n, field in schema["properties"].items() if n != "type" and not field.get("description")]
    assert not undocumented
    assert schema["additionalProperties"] is False


@cases(*FAMILIES)
def test_round_trips_and_is_frozen(block: type[Block]) -> None:
    value = block.model_validate(smallest(block))
    canonical = value.model_dump(mode="json")
    assert block.model_validate(canonical) == value
    assert block.model_validate_json(value.model_dump_json()) == value
    with pytest.raises(ValidationError, match="frozen"):
        value.type = "other"
    with pytest.raises(ValidationError, match="extra"):
        block.model_validate({**canonical, "surely_no_field": 1})


@cases(*FAMILIES)
def test_bare_name_says_it_all_or_is_refused(block: type[Block]) -> None:
    family = next(family for family in FAMILIES if issubclass(block, family))
    union: TypeAdapter[Block] = TypeAdapter(Annotated[family, OneOf()])
    if block.needs_nothing():
        assert union.validate_python(block.tag()) == block.model_validate({"type": block.tag()})
    else:
        with pytest.raises(ValidationError):
            union.validate_python(block.tag())


@cases(Layer)
def test_layer_trains(block: type[Layer]) -> None:
    for net, shape in built(smallest(block)):
        materialize(net, seed=1)
        set_noise(net, StepNoise(1, 0, CPU))
        x = inputs_of(net, 8, *shape)
        out = net.train()(x)
        assert out.shape == (8, OUTPUTS)
        out.square().mean().backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        torch.optim.SGD(net.parameters(), lr=1e-3).step()
        assert all(torch.isfinite(p).all() for p in net.parameters())


@cases(Layer)
def test_layer_leaves_no_memory_unset(block: type[Layer]) -> None:
    for net, _ in built(smallest(block)):
        net.to_empty(device="cpu")
        with torch.no_grad():
            for tensor in [*net.parameters(), *net.buffers()]:
                tensor.fill_(-12345)
        net.initialize(seed=3)
        assert not any((tensor == -12345).any() for tensor in [*net.parameters(), *net.buffers()])


@cases(Layer)
def test_layer_answers_each_row_by_itself_in_prediction(block: type[Layer]) -> None:
    for net, shape in built(smallest(block)):
        materialize(net, seed=1).eval()
        x = inputs_of(net, 5, *shape)
        torch.testing.assert_close(net(x)[:2], net(x[:2]))
        torch.testing.assert_close(net.suffix(net.prefix(x)), net(x))


@cases(Layer)
def test_layer_is_random_only_through_noise(block: type[Layer]) -> None:
    for net, shape in built(smallest(block)):
        materialize(net, seed=1).eval()
        x = inputs_of(net, 16, *shape).abs() + 0.1 * (net.records[0].layer.type != "embedding")
        plain = net(x)
        torch.rand(7)
        assert torch.equal(net(x), plain)
        outs = []
        for step in (0, 0, 1):
            set_noise(net, StepNoise(5, step, CPU))
            outs.append(net(x))
        assert torch.equal(outs[0], outs[1])
        assert torch.equal(outs[0], outs[2]) is not block.stochastic
        assert bool(net.stochastic_layers) is block.stochastic


@cases(WeightedLayer)
def test_weighted_layer_obeys_initializer_regularizer_and_constraint(block: type[Layer]) -> None:
    rules = {
        "initializer": {"type": "constant", "value": 2.0},
        "regularizer": {"l1": 0.5},
        "constraint": {"max_norm": 1.0},
    }
    for net, _ in built({**smallest(block), **rules}):
        materialize(net, seed=0)
        kernels = [net.get_parameter(name) for name, (penalty, _) in net.kernels.items() if penalty]
        assert kernels and all((kernel == 2.0).all() for kernel in kernels)
        penalty = net.penalty()
        assert penalty is not None
        assert penalty.item() == pytest.approx(sum(kernel.numel() for kernel in kernels))
        net.constrain_()
        units = [k.transpose(0, 1) if block.transposed else k for k in kernels]
        assert all(torch.allclose(k.flatten(1).norm(dim=1), torch.ones(len(k))) for k in units)


@cases(Activation)
def test_activation_keeps_shape_and_finite_gradients(block: type[Activation]) -> None:
    module = block.model_validate(smallest(block)).build()
    x = torch.linspace(-50, 50, 60).view(3, 4, 5).requires_grad_()
    out = module(x)
    assert out.shape == ((3, 2, 5) if block.narrows else x.shape)
    out.sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
    assert block.initializer in Initializer.members()


@cases(Initializer)
@pytest.mark.parametrize("shape", [(4,), (4, 6), (4, 3, 2, 2)])
def test_initializer_fills_everything_from_its_generator(block: type[Initializer], shape: Shape) -> None:
    initializer = block.model_validate(smallest(block))
    weights = [torch.full(shape, math.nan) for _ in range(3)]
    for weight, seed in zip(weights, (1, 1, 2), strict=True):
        torch.rand(3)
        initializer.fill(weight, torch.Generator().manual_seed(seed))
    assert torch.isfinite(weights[0]).all()
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2]) is block.symmetric


@cases(Loss)
def test_loss_is_per_row_and_its_link_readable(block: type[Loss]) -> None:
    loss = block.model_validate(smallest(block))
    two = Target(("a", "b"), 1) if loss.task == "classification" else Target(None, 2)
    output = torch.randn(6, loss.outputs(two), requires_grad=True)
    # Shares of a whole are numbers that every loss of numbers takes.
    shares = torch.rand(6, 1) * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])
    target = torch.arange(6) % 2 if loss.task == "classification" else shares
    rows = loss.per_row(output, target)
    assert rows.shape == (6,) and ((rows >= 0).all() or not loss.bounded)
    torch.testing.assert_close(loss.per_row(output[2:3], target[2:3]), rows[2:3])
    rows.mean().backward()
    assert output.grad is not None and torch.isfinite(output.grad).all()
    linked = loss.link(torch.randn(5, 6, loss.outputs(two)))
    assert linked.shape == (5, 6, 2)
    if loss.task == "classification":
        torch.testing.assert_close(linked.sum(-1), torch.ones(5, 6))


@cases(Metric)
def test_metric_adds_up_over_batches(block: type[Metric]) -> None:
    # The smallest k of top-k accuracy that can still be wrong among four classes.
    metric = block.model_validate({**smallest(block), **({"k": 2} if "k" in block.model_fields else {})})
    source = torch.Generator().manual_seed(0)
    if "classification" in metric.tasks:
        target = torch.arange(40) % 4
        guess, perfect = torch.rand(40, 4, generator=source), nn.functional.one_hot(target, 4).float()
    else:
        target = torch.randn(40, 2, generator=source)
        guess, perfect = torch.randn(40, 2, generator=source), target.clone()
    guess = guess / guess.sum(1, keepdim=True) if "classification" in metric.tasks else guess
    variance = torch.full_like(guess, 0.5)
    whole = metric.sums(guess, target, variance)
    assert whole.dtype == torch.float64
    parts = metric.sums(guess[:7], target[:7], variance[:7]) + metric.sums(guess[7:], target[7:], variance[7:])
    torch.testing.assert_close(whole, parts)
    best, value = metric.value(metric.sums(perfect, target, variance)), metric.value(whole)
    if not metric.scalar:
        assert best == [[10 * (i == j) for j in range(4)] for i in range(4)] != value
        return
    assert math.isfinite(value)
    assert best > value if metric.higher_is_better else best < value


@cases(Optimizer)
def test_optimizer_goes_downhill_and_resumes_with_the_same_bits(block: type[Optimizer]) -> None:
    config = block.model_validate({**smallest(block), "learning_rate": 0.05})

    def steps(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> float:
        def look() -> torch.Tensor:
            optimizer.zero_grad()
            loss = torch.stack([p.square().sum() for p in parameters]).sum()
            loss.backward()
            return loss

        for _ in range(5):
            if config.searches:
                optimizer.step(look)  # type: ignore[arg-type]
            else:
                look()
                optimizer.step()
        return float(sum(p.detach().square().sum() for p in parameters))

    through = [nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3))]
    optimizer = config.build(through)
    assert steps(through, optimizer) < 15.0
    resumed = [nn.Parameter(p.detach().clone()) for p in through]
    again = config.build(resumed)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(through, optimizer)
    steps(resumed, again)
    assert all(torch.equal(a, b) for a, b in zip(through, resumed, strict=True))


@cases(Optimizer)
def test_optimizer_tells_how_much_it_keeps(block: type[Optimizer]) -> None:
    extras: tuple[dict[str, Any], ...] = ({}, {"momentum": 0.9}) if "momentum" in block.model_fields else ({},)
    for extra in extras:
        config = block.model_validate({**smallest(block), **extra})
        weight = nn.Parameter(torch.ones(5, 7))
        optimizer = config.build([weight])

        def look(weight: nn.Parameter = weight) -> torch.Tensor:
            weight.grad = None
            loss = (weight - torch.arange(35.0).view(5, 7)).pow(4).sum()
            loss.backward()
            return loss

        look()
        for _ in range(1 if not config.searches else 5):
            optimizer.step(look if config.searches else None)  # type: ignore[arg-type]
        entries = [
            v for entry in optimizer.state[weight].values() for v in (entry if isinstance(entry, list) else [entry])
        ]
        kept = [v for v in entries if isinstance(v, torch.Tensor) and v.numel() == weight.numel()]
        # A search keeps as many steps as it has taken, up to its history.
        assert len(kept) <= config.state_tensors if config.searches else len(kept) == config.state_tensors


@cases(Schedule)
def test_schedule_is_a_bounded_function_of_the_step(block: type[Schedule]) -> None:
    schedule = block.model_validate({**smallest(block), "warmup_epochs": 2.0})
    horizon = Horizon(steps_per_epoch=10, total_steps=300)
    curve = [schedule.factor(step, horizon) for step in range(400)]
    assert all(0 <= factor <= 1 for factor in curve)
    assert curve[:20] == sorted(curve[:20]) and 0 < curve[0] < curve[19] < 1
    assert curve[20] == schedule.curve(0, Horizon(10, 280))
    assert max(curve) == pytest.approx(1.0, abs=1e-3)
    assert [schedule.factor(step, horizon) for step in reversed(range(400))] == curve[::-1]


IMAGES: tuple[Shape, ...] = ((3, 8, 12), (1, 9, 9), (6,), (4, 6))


def rows_for(block: Augmentation | Mixing) -> list[torch.Tensor]:
    """Return a batch of each shape that the block takes."""
    found = [shape for shape in IMAGES if block.refusal(shape) is None]
    assert IMAGES[0] in found
    return [torch.rand(16, *shape, generator=torch.Generator().manual_seed(0)) for shape in found]


@cases(Augmentation)
def test_augmentation_is_a_function_of_rows_and_generator(block: type[Augmentation]) -> None:
    step = block.model_validate(smallest(block))
    for x in rows_for(step):
        kept, seen = x.clone(), []
        for seed in (1, 1, 2):
            torch.rand(3)
            seen.append(step.apply(x, torch.Generator().manual_seed(seed)))
        assert torch.equal(x, kept)
        assert all((out.shape, out.dtype, out.device) == (x.shape, x.dtype, x.device) for out in seen)
        assert torch.isfinite(seen[0]).all() and not seen[0].requires_grad
        assert torch.equal(seen[0], seen[1])
        assert not torch.equal(seen[0], seen[2])
        assert step.apply(x[:1], torch.Generator().manual_seed(1)).shape == x[:1].shape


@cases(Augmentation)
def test_augmentation_draws_for_each_row_and_looks_at_no_other(block: type[Augmentation]) -> None:
    step = block.model_validate(smallest(block))
    for x in rows_for(step):
        alike = step.apply(x[:1].expand_as(x), torch.Generator().manual_seed(1))
        assert len(alike.flatten(1).unique(dim=0)) > 1
        changed = x.clone()
        changed[5] += 1
        before, after = (step.apply(rows, torch.Generator().manual_seed(1)) for rows in (x, changed))
        others = torch.arange(16) != 5
        assert torch.equal(before[others], after[others])


@cases(Mixing)
def test_mixing_mixes_rows_with_their_partners(block: type[Mixing]) -> None:
    mixing = block.model_validate(smallest(block))
    for x in rows_for(mixing):
        kept = x.clone()
        first, again, other = (mixing.mix(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(x, kept)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first.x, other.x)
        assert (first.x.shape, first.x.dtype) == (x.shape, x.dtype)
        assert sorted(first.partner.tolist()) == list(range(16))
        assert first.share.shape == (16,) and (first.share >= 0.5).all() and (first.share <= 1).all()
        assert len(first.share.unique()) > 1
        # The mean of all values of a row is what its share says, whatever the way of mixing, where rows are constant.
        flat = torch.arange(16.0).view(-1, *[1] * (x.ndim - 1)).expand_as(x)
        mixed, partner, share = mixing.mix(flat, torch.Generator().manual_seed(3))
        expected = share * torch.arange(16) + (1 - share) * partner
        torch.testing.assert_close(mixed.flatten(1).mean(dim=1), expected)
