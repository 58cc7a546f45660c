"""A network that was built before is not built again to know what training it takes."""

from typing import Any

import pytest

from service.api.plans import Plan, build
from service.errors import InvalidSpec
from service.memory import DataSize
from service.settings import Settings
from service.spec import JobSpec

DENSE, OUT = {"type": "dense", "units": 30, "activation": "relu"}, {"type": "dense", "units": "auto"}
DATA = {"dataset": "ds_" + "0" * 26, "target": "y"}


def plan(layers: list[Any], settings: Settings, rows: int = 100, **sections: Any) -> Plan:
    spec = JobSpec.model_validate({"network": {"layers": layers}, "loss": "cross_entropy", "data": DATA, **sections})
    return build(settings, spec, (7,), 3, data=DataSize(rows, 32))


def is_built(plan: Plan) -> bool:
    return "network" in vars(plan.draft)


def test_the_same_network_is_built_once_until_somebody_looks_at_it(settings: Settings) -> None:
    first, again = plan([DENSE, OUT], settings), plan([DENSE, OUT], settings)
    assert is_built(first) and not is_built(again)
    assert again.memory == first.memory
    assert [record.name for record in again.network.records] == [record.name for record in first.network.records]
    assert again.network is again.network


def test_what_training_takes_follows_the_rest_of_the_specification(settings: Settings) -> None:
    plain = plan([DENSE, OUT], settings, optimizer={"type": "sgd", "learning_rate": 0.1})
    assert plan([DENSE, OUT], settings, optimizer="adam").memory.beside_bytes > plain.memory.beside_bytes
    assert plan([DENSE, OUT], settings, replicas=4).memory.weights_bytes == 4 * plain.memory.weights_bytes
    half = plan([DENSE, OUT], settings, training={"precision": "bfloat16"})
    assert half.memory.row_bytes < plain.memory.row_bytes
    assert plan([DENSE, OUT], settings, rows=1000).memory.data_bytes > plain.memory.data_bytes


def test_what_was_refused_or_is_bound_by_another_limit_is_not_taken_for_known(settings: Settings) -> None:
    plan([DENSE, OUT], settings)
    with pytest.raises(InvalidSpec, match="more than this server allows"):
        plan([DENSE, OUT], settings.model_copy(update={"max_parameters": 10}))
    for _ in range(2):
        with pytest.raises(InvalidSpec, match="conv2d received the shape"):
            plan([{"type": "conv2d", "filters": 2, "kernel_size": 3}, OUT], settings)
        with pytest.raises(InvalidSpec, match="batch_norm behind a vector"):
            plan([DENSE, "batch_norm", OUT], settings, training={"batch_size": 1})
    plan([DENSE, "batch_norm", OUT], settings)
