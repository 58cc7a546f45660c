"""Networks: built on the meta device, given weights, saved and loaded."""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from service.blocks.base import Shape
from service.blocks.layers import BuildContext, Layer
from service.blocks.noise import StepNoise, set_noise
from service.errors import CorruptBlob, InvalidSpec, Problem
from service.network import Network, build_network, load_weights, materialize, save_weights
from service.network.building import _Builder
from service.network.learning import Surroundings
from service.spec import NetworkSpec, RegularizationSpec

DENSE = {"type": "dense", "units": 8, "activation": "relu"}
LAST = {"type": "dense", "units": "auto"}
MLP: list[Any] = [DENSE, "batch_norm", {"type": "dropout", "rate": 0.3}, {"type": "dense", "units": 5}, LAST]


def build(
    layers: Sequence[Any] = MLP, shape: Shape = (4,), outputs: int = 3, limit: int = 10**6, **fields: Any
) -> Network:
    regularization = RegularizationSpec.model_validate(fields.pop("regularization", {}))
    spec = NetworkSpec.model_validate({"layers": list(layers), **fields})
    return build_network(spec, regularization, shape, outputs, limit)


def refusal(*args: Any, **fields: Any) -> Problem:
    with pytest.raises(InvalidSpec) as caught:
        build(*args, **fields)
    (problem,) = caught.value.problems
    return problem


def starts(**fields: Any) -> list[str]:
    return [rule.initializer.type for rule in build(**fields).rules if rule.parameter.endswith("weight")]


def test_building_takes_no_memory_and_knows_every_shape() -> None:
    network = build()
    assert all(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])
    assert [record.output_shape for record in network.records] == [(8,), (8,), (8,), (5,), (3,)]
    assert [record.name for record in network.records] == ["dense_0", "batch_norm_1", "dropout_2", "dense_3", "dense_4"]
    assert network.parameter_count == (4 * 8 + 8) + 16 + (8 * 5 + 5) + (5 * 3 + 3)
    assert network.has_batch_norm and not build([LAST]).has_batch_norm


def test_layers_have_the_names_people_gave_them() -> None:
    network = build([{**DENSE, "name": "wide"}, LAST])
    assert set(network.state_dict()) >= {"layers.wide.kernel.weight", "layers.dense_1.kernel.bias"}


@pytest.mark.parametrize("name", ["keys", "forward", "training", "pop"])
def test_names_that_torch_uses_are_refused(name: str) -> None:
    assert refusal([{**DENSE, "name": name}, LAST]).path == "network.layers[0].name"


class TestOutputs:
    def test_units_that_do_not_suit_are_named(self) -> None:
        problem = refusal([DENSE, {"type": "dense", "units": 7}, {"type": "dropout", "rate": 0.1}])
        assert (problem.path, problem.got, problem.allowed) == ("network.layers[1].units", 7, [3, "auto"])

    def test_filters_that_do_not_suit_are_named(self) -> None:
        problem = refusal([{"type": "conv1d", "filters": 5, "kernel_size": 2}, "global_average_pool"], (2, 9))
        assert (problem.path, problem.got, problem.allowed) == ("network.layers[0].filters", 5, [3])

    def test_a_layer_that_cannot_be_auto_is_not_said_to_be(self) -> None:
        problem = refusal([{"type": "gru", "units": 5}], (4, 2))
        assert (problem.path, problem.got, problem.allowed) == ("network.layers[0].units", 5, [3])

    def test_only_fields_that_there_are_are_named(self) -> None:
        problem = refusal([{"type": "depthwise_conv1d", "kernel_size": 2}, "global_average_pool"], (2, 9))
        assert (problem.path, problem.got, problem.allowed) == ("network.layers[0]", 2, [3])

    def test_a_forgotten_flatten_is_spotted(self) -> None:
        problem = refusal([{"type": "conv2d", "filters": 2, "kernel_size": 3}, LAST], (1, 8, 8))
        assert problem.path == "network.layers[1]" and problem.got == [2, 6, 3]
        assert "flatten" in problem.message

    def test_a_pooling_behind_the_last_weights_is_to_blame_itself(self) -> None:
        problem = refusal([{"type": "dense", "units": 3}, "flatten"], (2, 4))
        assert (problem.path, problem.got) == ("network.layers[1]", [6])


class TestSize:
    def test_more_parameters_than_allowed_are_refused_where_they_come(self) -> None:
        problem = refusal([DENSE, {"type": "dense", "units": 10_000_000}, {"type": "dense", "units": 10_000_000}, LAST])
        assert problem.path == "network.layers[1]" and problem.got == 40 + 8 * 10_000_000
        assert problem.allowed == "at most 1,000,000"

    @pytest.mark.parametrize(
        "layer",
        [
            {"type": "dense", "units": 10_000_000},
            {"type": "conv2d", "filters": 10_000_000, "kernel_size": 10_000, "padding": 10_000},
        ],
    )
    def test_sizes_beyond_64_bits_are_counted_not_tried(self, layer: dict[str, Any]) -> None:
        wide = (10**9, 10**9, 10**9) if layer["type"] == "conv2d" else (10**9, 10**13)
        problem = refusal([layer, LAST], wide, limit=10**12)
        assert problem.path == "network.layers[0]" and isinstance(problem.got, int) and problem.got > 10**19

    def test_a_biased_count_is_exact(self) -> None:
        assert build([LAST], (4,), 3, limit=15).parameter_count == 15
        assert refusal([LAST], (4,), 3, limit=14).got == 15

    def test_layers_that_swell_are_refused(self) -> None:
        problem = refusal(
            [{"type": "conv2d", "filters": 9, "kernel_size": 1, "padding": 10_000}] * 3 + ["flatten", LAST], (1, 9, 9)
        )
        assert problem.path.startswith("network.layers[") and "values a row" in problem.message


class TestInitialisation:
    def test_the_activation_of_the_layer_decides(self) -> None:
        layers = [{**DENSE, "activation": a} for a in ("relu", "selu", "tanh", "linear")]
        assert starts(layers=[*layers, LAST]) == [
            "he_normal", "lecun_normal", "glorot_uniform", "glorot_uniform", "glorot_uniform",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "between", [[], ["batch_norm"], ["layer_norm", {"type": "dropout", "rate": 0.1}], ["flatten"]]
    )
    @pytest.mark.parametrize("own", [{}, {"activation": "linear"}])
    def test_so_does_one_behind_it(self, between: list[Any], own: dict[str, Any]) -> None:
        layers = [{"type": "dense", "units": 8, **own}, *between, {"type": "activation", "activation": "selu"}, LAST]
        assert starts(layers=layers) == ["lecun_normal", "glorot_uniform"]

    def test_one_behind_another_layer_with_weights_does_not(self) -> None:
        layers = [{"type": "dense", "units": 8}, {"type": "dense", "units": 8, "activation": "relu"}, LAST]
        assert starts(layers=layers) == ["glorot_uniform", "he_normal", "glorot_uniform"]

    @pytest.mark.parametrize(
        "layer",
        [{"type": "lstm", "units": 4}, {"type": "multi_head_attention", "heads": 2}, {"type": "maxout", "units": 4}],
    )
    def test_a_layer_that_bends_by_itself_starts_for_its_own_sake(self, layer: dict[str, Any]) -> None:
        rules = build([layer, "flatten", LAST], (5, 4), activation="relu").rules
        assert {rule.initializer.type for rule in rules if "weight" in rule.parameter} == {"glorot_uniform"}

    def test_network_wide_defaults_serve_unless_a_layer_speaks(self) -> None:
        layers = [{"type": "dense", "units": 8}, {"type": "dense", "units": 8, "activation": "selu"}, LAST]
        assert starts(layers=layers, activation="relu") == ["he_normal", "lecun_normal", "glorot_uniform"]
        assert starts(layers=layers, activation="relu", initializer="lecun_uniform") == ["lecun_uniform"] * 3

    def test_biases_start_at_zero_or_as_told(self) -> None:
        network = materialize(build([DENSE, {**LAST, "bias_initializer": {"type": "constant", "value": 2.0}}]), 0)
        biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
        assert [bias.unique().tolist() for bias in biases] == [[0.0], [2.0]]

    def test_weights_are_a_function_of_the_seed(self) -> None:
        first = save_weights(materialize(build(), 1))
        torch.rand(10)
        assert save_weights(materialize(build(), 1)) == first
        assert save_weights(materialize(build(), 2)) != first

    def test_the_default_activation_is_kept_from_the_last_layer(self) -> None:
        network = materialize(build([{"type": "dense", "units": 50}, LAST], activation="relu"), 0)
        out = network(torch.randn(200, 4))
        assert (out < 0).any()
        assert (network.layers["dense_0"](torch.randn(20, 4)) >= 0).all()


class TestPenaltiesAndConstraints:
    def test_there_is_none_unless_asked_for(self) -> None:
        network = materialize(build(), 0)
        assert network.penalty() is None and network.kernels == {}
        before = save_weights(network)
        network.constrain_()
        assert save_weights(network) == before

    def test_the_nearest_word_counts(self) -> None:
        layers = [{**DENSE, "regularizer": {"l1": 1.0}, "constraint": {"max_norm": 1.0}}, DENSE, LAST]
        network = build(layers, regularizer={"l2": 2.0}, regularization={"l2": 3.0, "max_norm": 4.0})
        found = {name: (r and (r.l1, r.l2), c and c.max_norm) for name, (r, c) in network.kernels.items()}
        assert found == {
            "layers.dense_0.kernel.weight": ((1.0, 0.0), 1.0),
            "layers.dense_1.kernel.weight": ((0.0, 2.0), 4.0),
            "layers.dense_2.kernel.weight": ((0.0, 2.0), 4.0),
        }

    def test_a_layer_can_be_exempt(self) -> None:
        network = build([{**DENSE, "regularizer": {}}, LAST], regularization={"l2": 3.0})
        assert list(network.kernels) == ["layers.dense_1.kernel.weight"]

    def test_the_penalty_is_of_kernels_only_and_has_a_gradient(self) -> None:
        network = materialize(build(regularization={"l1": 0.1, "l2": 0.01}), 0)
        kernels = [p for name, p in network.named_parameters() if p.ndim > 1]
        penalty = network.penalty()
        assert penalty is not None
        expected = sum(0.1 * k.abs().sum() + 0.01 * k.square().sum() for k in kernels)
        torch.testing.assert_close(penalty, expected)
        penalty.backward()
        assert {name for name, p in network.named_parameters() if p.grad is not None} == set(network.kernels)


class TestModes:
    def test_eval_freezes_batch_norm_and_leaves_dropout_alone(self) -> None:
        network = materialize(build(), 0)
        x = torch.randn(16, 4)
        set_noise(network, StepNoise(0, 0, torch.device("cpu")))
        noisy = network.eval()(x)
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        network(x + 5)
        assert all(torch.equal(buffer, buffers[name]) for name, buffer in network.named_buffers())
        set_noise(network, None)
        assert not torch.equal(network(x), noisy)
        network.train()(x + 5)
        assert not all(torch.equal(buffer, buffers[name]) for name, buffer in network.named_buffers())

    def test_prefix_and_suffix_meet_at_the_first_stochastic_layer(self) -> None:
        network = materialize(build(), 0).eval()
        assert network.stochastic_layers == ["dropout_2"]
        x = torch.randn(6, 4)
        set_noise(network, StepNoise(1, 2, torch.device("cpu")))
        before = network.prefix(x)
        assert before.shape == (6, 8)
        torch.testing.assert_close(network.suffix(before), network(x), rtol=0, atol=0)
        torch.testing.assert_close(network.prefix(x), before, rtol=0, atol=0)

    def test_without_dropout_everything_is_prefix(self) -> None:
        network = materialize(build([DENSE, LAST]), 0)
        x = torch.randn(2, 4)
        assert network.stochastic_layers == []
        assert torch.equal(network.prefix(x), network(x))
        assert network.suffix(x) is x

    def test_a_copy_runs_on_its_own_weights(self) -> None:
        network = materialize(build(), 0).eval()
        twin = copy.deepcopy(network)
        x = torch.randn(2, 4)
        expected = network(x)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        assert torch.equal(twin(x), expected) and torch.equal(twin.suffix(twin.prefix(x)), expected)


class TestWeights:
    def test_they_come_back_bit_for_bit(self) -> None:
        network = materialize(build(), 3)
        network.train()(torch.randn(9, 4))
        data = save_weights(network)
        for other in (build(), materialize(build(), 4)):
            load_weights(other, data)
            assert save_weights(other) == data
            assert not any(tensor.is_meta for tensor in [*other.parameters(), *other.buffers()])
            assert all(parameter.requires_grad for parameter in other.parameters())

    def test_loaded_ones_train(self) -> None:
        network = build()
        load_weights(network, save_weights(materialize(build(), 0)))
        network(torch.randn(4, 4)).sum().backward()
        torch.optim.SGD(network.parameters(), lr=0.1).step()

    @pytest.mark.parametrize("data", [b"", b"nonsense", b"\xff" * 64])
    def test_what_is_no_safetensors_is_refused(self, data: bytes) -> None:
        with pytest.raises(CorruptBlob, match="do not fit"):
            load_weights(build(), data)

    def test_those_of_another_network_are_refused(self) -> None:
        with pytest.raises(CorruptBlob, match="do not fit"):
            load_weights(build([DENSE, LAST]), save_weights(materialize(build(), 0)))


class Doubled(nn.Module):
    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], dim=1)


class Nested(Layer):
    """A composite block as a later one may be; without a literal type it is no member of the family."""

    type: str = "nested"
    inner: ClassVar[list[Any]] = []

    def build(self, shape: Shape, context: BuildContext) -> nn.Module:
        return Doubled(context.stack(self.inner, shape, "layers"))


def composite(layers: Sequence[Any]) -> _Builder:
    inner = NetworkSpec.model_validate({"layers": list(layers)}).layers
    nested = Nested()
    Nested.inner = list(inner)
    spec = NetworkSpec.model_construct(
        layers=[nested, NetworkSpec.model_validate({"layers": [LAST]}).layers[0]],
        activation=None, initializer=None, bias_initializer=None, regularizer=None, constraint=None,
    )  # fmt: skip
    builder = _Builder(spec, RegularizationSpec(l2=1.0), 3, 10**6)
    stack = builder.stack(spec.layers, (4,), "network.layers", "layers", Surroundings(), top=True)
    network = Network(stack, builder.tops, builder.rules, builder.learning)
    assert {rule.parameter for rule in builder.rules} == {n for n, _ in network.named_parameters()}
    materialize(network, 0)
    return builder


class TestCompositeBlocks:
    def test_layers_inside_are_found_by_initializers_and_penalties_and_counted_once(self) -> None:
        builder = composite([DENSE, {"type": "dense", "units": 6}])
        assert builder.parameters == (4 * 8 + 8) + (8 * 6 + 6) + (10 * 3 + 3)
        assert builder.rules[0].parameter == "layers.nested_0.layers.dense_0.kernel.weight"
        assert [record.name for record in builder.tops] == ["nested_0", "dense_1"]

    def test_a_mistake_inside_has_its_own_place(self) -> None:
        with pytest.raises(InvalidSpec) as caught:
            composite([DENSE, "max_pool2d"])
        assert caught.value.problems[0].path == "network.layers[0].layers[1]"

    def test_auto_inside_is_refused(self) -> None:
        with pytest.raises(InvalidSpec, match="last layer only"):
            composite([LAST])
