"""The specification: one canonical form, one hash."""

import copy
from typing import Any

import orjson
import pytest

from service.errors import InvalidSpec
from service.problems import parse_spec
from service.spec import JobSpec

SHORT: dict[str, Any] = {
    "network": {"layers": [{"type": "conv2d", "filters": 4, "kernel_size": 3, "activation": "relu"}, "flatten",
                           {"type": "dense", "units": "auto"}]},
    "loss": "cross_entropy",
    "data": {"dataset": "ds_" + "0" * 26, "target": "digit", "preprocessing": "standardize"},
    "training": {"seed": 7},
}  # fmt: skip

LONG: dict[str, Any] = {
    "network": {
        "layers": [
            {"type": "conv2d", "filters": 4, "kernel_size": [3, 3], "stride": [1, 1], "padding": "valid",
             "activation": {"type": "relu"}, "use_bias": True, "regularizer": None},
            {"type": "flatten", "name": None},
            {"units": "auto", "type": "dense"},
        ],
        "activation": None,
    },
    "loss": {"type": "cross_entropy", "label_smoothing": 0},
    "optimizer": {"type": "adam", "learning_rate": 0.001, "beta_1": 0.9},
    "schedule": {"type": "constant", "warmup_epochs": 0},
    "regularization": {"l1": 0, "l2": 0.0, "early_stopping": None, "mixing": None},
    "data": {"target": "digit", "dataset": "ds_" + "1" * 26, "features": None,
             "split": {"validation": 0.2, "test": 0, "stratify": "auto", "seed": 7},
             "preprocessing": [{"type": "standardize"}], "augmentation": []},
    "training": {"epochs": 10, "batch_size": 32, "seed": 7, "device": "auto", "precision": "auto"},
    "metrics": ["accuracy"],
    "name": "the same in long",
}  # fmt: skip


def spec(body: dict[str, Any]) -> JobSpec:
    return parse_spec(orjson.dumps(body))


def with_value(value: Any, *steps: Any) -> dict[str, Any]:
    body = copy.deepcopy(LONG)
    here: Any = body
    for step in steps[:-1]:
        here = here[step]
    here[steps[-1]] = value
    return body


def test_short_and_long_form_are_the_same_run() -> None:
    assert spec(SHORT).sha256() == spec(LONG).sha256()


def test_the_hash_is_that_of_yesterday() -> None:
    """A change of this value makes every finished run unfindable by its hash: it belongs into the changelog."""
    assert len(spec(SHORT).sha256()) == 64
    assert spec(SHORT).sha256() == spec(orjson.loads(orjson.dumps(SHORT, option=orjson.OPT_SORT_KEYS))).sha256()


def test_canonical_form_reads_back_to_itself() -> None:
    for body in (SHORT, LONG):
        canonical = spec(body).canonical()
        again = JobSpec.model_validate(orjson.loads(orjson.dumps(canonical)))
        assert again.canonical() == canonical
        assert again.sha256() == spec(body).sha256()


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        (5, ("network", "layers", 0, "filters")),
        ("same", ("network", "layers", 0, "padding")),
        (0.1, ("loss", "label_smoothing")),
        (0.01, ("optimizer", "learning_rate")),
        (1.0, ("schedule", "warmup_epochs")),
        (1e-4, ("regularization", "l2")),
        ("other", ("data", "target")),
        (8, ("data", "split", "seed")),
        ([], ("data", "preprocessing")),
        ("random_flip", ("data", "augmentation")),
        ("mixup", ("regularization", "mixing")),
        (8, ("training", "seed")),
        (11, ("training", "epochs")),
        ([], ("metrics",)),
    ],
)
def test_what_decides_the_result_changes_the_hash(value: Any, steps: tuple[Any, ...]) -> None:
    assert spec(with_value(value, *steps)).sha256() != spec(LONG).sha256()


@pytest.mark.parametrize("switch", ["tf32", "compile"])
def test_switches_that_change_the_arithmetic_change_the_hash_when_they_are_on(switch: str) -> None:
    on, off = (spec(LONG | {"training": LONG["training"] | {switch: value}}) for value in (True, False))
    assert off.sha256() == spec(LONG).sha256() != on.sha256()
    assert off.canonical()["training"][switch] is False


def test_a_profile_leaves_the_hash_alone() -> None:
    assert spec(LONG | {"training": LONG["training"] | {"profile": True}}).sha256() == spec(LONG).sha256()


@pytest.mark.parametrize("body", [LONG | {"priority": 100}, LONG | {"priority": -100}, LONG | {"name": "other"}])
def test_what_decides_nothing_leaves_the_hash_alone(body: dict[str, Any]) -> None:
    assert spec(body).sha256() == spec(LONG).sha256()
    assert spec(body).canonical()["priority"] == body.get("priority", 0)


@pytest.mark.parametrize("priority", [101, -101, 0.5, "high", None, True])
def test_a_priority_is_a_whole_number_in_bounds(priority: object) -> None:
    with pytest.raises(InvalidSpec) as refused:
        spec(LONG | {"priority": priority})
    assert [problem.path for problem in refused.value.problems] == ["priority"]


def test_every_default_is_filled_in() -> None:
    canonical = spec(SHORT).canonical()
    assert canonical["optimizer"]["type"] == "adam"
    split = {
        "validation": 0.2,
        "test": 0.0,
        "column": None,
        "group": None,
        "stratify": "auto",
        "shuffle": True,
        "seed": 7,
    }
    assert canonical["data"]["split"] == split
    assert canonical["metrics"] == [{"type": "accuracy"}]
    assert canonical["network"]["layers"][0]["kernel_size"] == [3, 3]


def test_metrics_follow_from_the_loss_unless_they_are_given() -> None:
    assert [metric.key for metric in spec({**SHORT, "loss": "mse"}).metrics] == ["rmse", "mae", "r2"]
    assert spec({**SHORT, "metrics": None}).metrics == spec(SHORT).metrics
    assert spec({**SHORT, "metrics": []}).metrics == []


def test_targets_are_a_list() -> None:
    assert spec(SHORT).data.targets == ["digit"]
    assert spec({**SHORT, "loss": "mse", "data": {**SHORT["data"], "target": ["a", "b"]}}).data.targets == ["a", "b"]


def test_the_schema_describes_bare_names_and_objects() -> None:
    schema = JobSpec.model_json_schema()
    bare, objects = schema["properties"]["loss"]["anyOf"]
    assert "mse" in bare["enum"] and objects["discriminator"] == {"propertyName": "type"}
    units = schema["$defs"]["Dense"]["properties"]["units"]["anyOf"]
    assert {"const": "auto"} in units
