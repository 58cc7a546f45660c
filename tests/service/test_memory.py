"""The estimate of memory, against counts made by hand and against what autograd keeps."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from service.memory import DataSize, NetworkSize, Room, TrainingMemory, job_memory, training_memory
from service.network import build_network
from service.spec import JobSpec

DATA = {"dataset": "ds_" + "0" * 26, "target": "y"}


def memory(layers: list[Any], shape: tuple[int, ...], outputs: int = 3, **sections: Any) -> TrainingMemory:
    spec = JobSpec.model_validate({"network": {"layers": layers}, "loss": "cross_entropy", "data": DATA, **sections})
    network = build_network(spec.network, spec.regularization, shape, outputs)
    return training_memory(NetworkSize.of(network, spec.training.precision), spec, data_bytes=160)


DENSE = {"type": "dense", "units": 100, "activation": "relu"}
OUT = {"type": "dense", "units": "auto"}


def test_weights_are_there_as_often_as_training_needs_them() -> None:
    parameters = 4 * 100 + 100 + 100 * 3 + 3
    plain = memory([DENSE, OUT], (4,), optimizer={"type": "sgd", "learning_rate": 0.1})
    assert (plain.weights_bytes, plain.beside_bytes, plain.data_bytes) == (4 * parameters, 8 * parameters, 160)
    rich = {"optimizer": "adam", "training": {"averaging": "ema"}, "regularization": {"early_stopping": {}}}
    assert memory([DENSE, OUT], (4,), **rich).beside_bytes == (2 + 4 + 2) * 4 * parameters
    frozen = memory([{**DENSE, "trainable": False}, OUT], (4,), **rich)
    assert frozen.beside_bytes == 2 * 4 * parameters + 6 * 4 * 303


def test_a_row_takes_what_the_backward_pass_needs_of_it() -> None:
    linear = memory([{"type": "dense", "units": 100}, OUT], (4,)).row_bytes
    assert linear == 4 * (4 + 100) + 4 * 2 * 100  # the inputs of both layers; the widest outputs, come and gone
    dropped = memory([{"type": "dense", "units": 100}, {"type": "dropout", "rate": 0.5}, OUT], (4,)).row_bytes
    assert dropped == linear + 4 * 2 * 100  # the mask, and what is left


def test_what_is_inside_of_a_layer_counts() -> None:
    branch = {"type": "dense", "units": 50}
    one, many = (memory([{"type": "parallel", "branches": [branch] * n}, OUT], (4,)).row_bytes for n in (1, 20))
    assert many > 10 * one
    lengths = [memory([{"type": "lstm", "units": 8}, OUT], (n, 4)).row_bytes for n in (10, 100)]
    assert 5 < lengths[1] / lengths[0] < 15
    scores = memory([{"type": "multi_head_attention", "heads": 2}, "flatten", OUT], (64, 4)).row_bytes
    assert scores > 4 * 2 * 64 * 64


@pytest.mark.parametrize("limit", [10_000, 1_000_000])
def test_the_most_rows_are_the_most_that_fit(limit: int) -> None:
    found = TrainingMemory(weights_bytes=1000, beside_bytes=4000, row_bytes=333, data_bytes=700)
    most = found.most_rows(limit)
    assert found.of(most) <= limit < found.of(most + 1)
    assert TrainingMemory(weights_bytes=limit, beside_bytes=1, row_bytes=1).most_rows(limit) == 0


DATA_SIZE = DataSize(rows=1_000_000, row_bytes=1000)
LITTLE = DataSize(rows=1000, row_bytes=100)


def placed(data: DataSize, memory: int, of_data: int, batch: int = 1, **sections: Any) -> TrainingMemory:
    spec = JobSpec.model_validate({"network": {"layers": [DENSE, OUT]}, "loss": "mse", "data": DATA, **sections})
    network = build_network(spec.network, spec.regularization, (4,), 1)
    return job_memory(
        NetworkSize.of(network, spec.training.precision), spec, data, batch, Room(memory, of_data, 1 << 40)
    )


def test_data_are_streamed_where_memory_has_no_room_for_them() -> None:
    assert placed(DATA_SIZE, 1 << 40, 1 << 40).disk_bytes == 0
    streamed = placed(DATA_SIZE, 1 << 40, 1 << 29)
    assert streamed.disk_bytes == DATA_SIZE.bytes == 10**9
    assert streamed.data_bytes == DATA_SIZE.streamed < 200e6
    beside = placed(DATA_SIZE, 1 << 40, 1 << 40).of(1)
    assert placed(DATA_SIZE, beside, 1 << 40).disk_bytes == 0
    assert placed(DATA_SIZE, beside - 1, 1 << 40).disk_bytes == 10**9, "there is no room for the rest"
    assert placed(LITTLE, 1 << 20, 1).disk_bytes == 0, "what is read ahead would take more"


def test_what_is_streamed_need_not_fit_into_memory() -> None:
    spec = JobSpec.model_validate({"network": {"layers": [DENSE, OUT]}, "loss": "mse", "data": DATA})
    tight = Room(1 << 28, 1 << 27, 1 << 40)
    memory = placed(DATA_SIZE, tight.memory, tight.data)
    assert memory.problem(spec, 1, tight) is None
    problem = memory.problem(spec, 1, replace(tight, cache=10**8))
    assert problem is not None and problem.path == "data.dataset" and "of the disk" in problem.message
    whole = placed(replace(DATA_SIZE, at_once_bytes=4000), tight.memory, tight.data)
    problem = whole.problem(spec, 1, tight)
    assert whole.disk_bytes == 0 and problem is not None and problem.path == "data.dataset"


def test_looking_leaves_the_network_as_it_was() -> None:
    spec = JobSpec.model_validate({"network": {"layers": [DENSE, "batch_norm", OUT]}, "loss": "mse", "data": DATA})
    network = build_network(spec.network, spec.regularization, (4,), 1)
    NetworkSize.of(network, "float32")
    assert not network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert torch.is_grad_enabled()


def test_half_precision_keeps_half_of_what_products_give_and_copies_of_the_weights() -> None:
    layers = [DENSE, {**DENSE, "units": 50}, OUT]
    whole, half = (memory(layers, (4,), training={"precision": p}) for p in ("float32", "bfloat16"))
    assert half.beside_bytes == whole.beside_bytes + whole.weights_bytes // 2
    assert whole.row_bytes == 4 * (4 + 100 + 50) + 4 * 2 * 100
    assert half.row_bytes == 2 * (4 + 100 + 50) + 4 * 2 * 100
    assert memory(layers, (4,), training={"precision": "auto"}) == whole
    for layer in ({"type": "lstm", "units": 8}, {"type": "multi_head_attention", "heads": 2}):
        whole, half = (
            memory([layer, "flatten", OUT], (64, 4), training={"precision": p}) for p in ("float32", "float16")
        )
        assert 0.4 < half.row_bytes / whole.row_bytes < 1.0
