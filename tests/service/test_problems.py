"""From bodies to specifications, or to everything that is wrong with them."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidSpec, MalformedRequest, Problem
from service.problems import Draft, parse_spec, read_draft

BODY: dict[str, Any] = {
    "network": {
        "layers": [
            {"type": "dense", "units": 16, "activation": "relu"},
            {"type": "dropout", "rate": 0.2},
            {"type": "dense", "units": "auto"},
        ]
    },
    "loss": "cross_entropy",
    "data": {"dataset": "ds_" + "0" * 26, "target": "quality", "preprocessing": "standardize"},
}


def changed(**places: Any) -> dict[str, Any]:
    """Return the body with other values: `network__layers__0__units=3`."""
    body = copy.deepcopy(BODY)
    for place, value in places.items():
        *steps, last = [int(step) if step.isdigit() else step for step in place.split("__")]
        here: Any = body
        for step in steps:
            here = here.setdefault(step, {}) if isinstance(here, dict) else here[step]
        here[last] = value
    return body


def problems(body: Any) -> dict[str, Problem]:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(orjson.dumps(body))
    found = caught.value.problems
    assert len({problem.path for problem in found}) == len(found)
    return {problem.path: problem for problem in found}


def only(body: Any) -> Problem:
    found = problems(body)
    assert len(found) == 1, found
    return next(iter(found.values()))


def test_a_sound_body_is_a_spec() -> None:
    assert parse_spec(orjson.dumps(BODY)).network.layers[0].type == "dense"


def test_ten_mistakes_are_ten_problems_at_ten_places() -> None:
    found = problems(
        changed(
            network__layers__0__units=0,
            network__layers__0__activation="relo",
            network__layers__1__rate=1.5,
            network__layers__2__type="dens",
            loss="cross_entropi",
            optimizer={"type": "adam", "learning_rate": -1},
            data__split__validation="much",
            data__preprocessing=["standardise"],
            training__epochs=0,
            trainning={"epochs": 3},
        )
    )
    assert set(found) == {
        "network.layers[0].units",
        "network.layers[0].activation",
        "network.layers[1].rate",
        "network.layers[2].type",
        "loss",
        "optimizer.learning_rate",
        "data.split.validation",
        "data.preprocessing[0]",
        "training.epochs",
        "trainning",
    }
    assert [found["network.layers[2].type"].got, found["training.epochs"].got] == ["dens", 0]


def test_contradictions_come_in_the_same_answer_as_mistakes_elsewhere() -> None:
    body = changed(
        network__layers__0__units="auto", metrics=["rmse"], training__epochs=0, data__preprocessing="standardise"
    )
    assert set(problems(body)) == {"network.layers[0].units", "metrics[0]", "training.epochs", "data.preprocessing"}


@pytest.mark.parametrize(
    ("place", "value", "path", "words"),
    [
        ("network__layers__0__units", 2.5, "network.layers[0].units", 'or "auto"'),
        ("network__layers__0__units", True, "network.layers[0].units", 'or "auto"'),
        ("network__layers__0__units", 10**12, "network.layers[0].units", "a whole number from 1 to"),
        ("network__layers__0__units", "many", "network.layers[0].units", 'or "auto"'),
        ("network__layers__0__unitz", 3, "network.layers[0].unitz", 'did you mean "units"?'),
        (
            "network__layers__0__initializer",
            {"type": "he_normal", "gain": 2},
            "network.layers[0].initializer.gain",
            "not a",
        ),
        ("network__layers__0__activation", {"slope": 1}, "network.layers[0].activation.type", "is required"),
        ("network__layers__0__activation", {"type": 7}, "network.layers[0].activation.type", "name of an activation"),
        ("network__layers__0__activation", 7, "network.layers[0].activation", "must be an activation"),
        ("network__layers__1", "dropout", "network.layers[1].rate", "is required"),
        ("network__layers__1", ["dropout"], "network.layers[1]", "must be a layer"),
        ("network__layers__0__name", "1st layer", "network.layers[0].name", "does not have the form"),
        ("network__layers__0__regularizer", {"l2": -1}, "network.layers[0].regularizer.l2", "at least 0"),
        ("network__layers", [], "network.layers", "at least 1 long"),
        ("network__layers", {}, "network.layers", "must be a list"),
        ("network", None, "network", "must be an object"),
        ("optimizer", "adan", "optimizer", 'did you mean "adam"?'),
        ("optimizer", {"type": "sgd", "nesterov": True}, "optimizer", "momentum above 0"),
        ("data__target", 3, "data.target", "a list of names"),
        ("data__target", [], "data.target", "a list of names"),
        ("data__target", ["a", 3], "data.target", "a list of names"),
        ("data__dataset", "ds_1", "data.dataset", "26 characters"),
        ("data__split__stratify", "yes", "data.split.stratify", 'true, false or "auto"'),
        ("data__split", {"validation": 0.7, "test": 0.3}, "data.split", "leave rows to train on"),
        (
            "data__preprocessing",
            {"type": "min_max", "rnge": [0, 1]},
            "data.preprocessing.rnge",
            'did you mean "range"?',
        ),
        ("training__device", "gpu", "training.device", "must be 'auto', 'cpu' or 'cuda'"),
        ("training__seed", -1, "training.seed", "at least 0"),
        ("training__batch_size", 32.0, "training.batch_size", "whole number"),
        ("metrics", ["acuracy"], "metrics[0]", 'did you mean "accuracy"?'),
        ("metrics", [{"type": "top_k_accuracy", "k": 0}], "metrics[0].k", "at least 1"),
        ("no field", 1, '["no field"]', "is not a field here"),
        ("name", "", "name", "at least 1 long"),
    ],
)
def test_one_mistake_is_one_problem_in_plain_words(place: str, value: Any, path: str, words: str) -> None:
    body = {**BODY, place: value} if " " in place else changed(**{place: value})
    problem = only(body)
    assert problem.path == path
    assert words in problem.message
    assert not any(noise in problem.message for noise in ("Input should", "Value error", "pydantic", "union", "\x00"))


def test_a_field_named_like_its_block_keeps_its_place() -> None:
    assert only(changed(network__layers__0__dense=1)).path == "network.layers[0].dense"
    assert only(changed(loss={"type": "huber", "huber": 1}, metrics=[])).path == "loss.huber"


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    assert "conv2d" in (only(changed(network__layers__0={"type": "dens", "units": 1})).allowed or [])
    assert "units" in (only(changed(network__layers__0__unitz=1)).allowed or [])
    assert only(changed(training__device="gpu")).allowed == ["auto", "cpu", "cuda"]


def test_long_values_are_cut_and_long_lists_of_problems_end() -> None:
    long = only(changed(optimizer={"type": "x" * 10_000}))
    assert len(str(long.got)) < 600
    assert len(problems(changed(metrics=["no"] * 500))) == 100


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": Infinity}', "not valid JSON"),
        (b'{"a": 1e999}', "not valid JSON"),
        (b'{"loss": "mse", "loss": "mae"}', "'loss' stands twice"),
        (b"[" * 70 + b"]" * 70, "nested"),
        (b"[" * 100_000 + b"]" * 100_000, "not valid JSON"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested"),
        (b'"' + b"x" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_no_json_is_malformed(body: bytes, words: str) -> None:
    with pytest.raises(MalformedRequest, match=words):
        parse_spec(body)


@pytest.mark.parametrize("body", [b"null", b"[]", b"3", b'"spec"', b"true"])
def test_what_is_no_object_is_refused_at_the_root(body: bytes) -> None:
    assert only(orjson.loads(body)).path == ""


def test_an_empty_object_lacks_what_is_required() -> None:
    assert {path: problem.message for path, problem in problems({}).items()} == {
        "network": "is required",
        "loss": "is required",
        "data": "is required",
    }


def draft(**places: Any) -> Draft:
    return read_draft(changed(**places))


def test_a_draft_knows_what_is_sound() -> None:
    found = draft(loss="nope", data__split=3)
    assert found.spec is None and found.readable is not None
    assert found.broken == {"loss", "data.split"}
    assert found.sound("network", "data.target", "data.dataset")
    assert not any(found.sound(place) for place in ("loss", "data", "data.split", "data.split.test"))
    assert found.readable.data.target == "quality"


def test_a_draft_believes_only_names_where_it_stands_in() -> None:
    unknown = Problem("data.target", "there is no column", "qualty")
    doubtful = Problem("data.target", "holds fractions", "quality")
    assert draft(loss="nope").trusted([unknown, doubtful], ["quality"]) == [unknown]
    assert draft(training__epochs=0).trusted([unknown, doubtful], ["quality"]) == [unknown, doubtful]
    assert draft(data__target=3).trusted([unknown], ["quality"]) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PLACES = [
    "network",
    "network__layers",
    "network__layers__0",
    "network__layers__0__units",
    "network__layers__0__activation",
    "loss",
    "optimizer",
    "schedule",
    "regularization",
    "data",
    "data__target",
    "data__preprocessing",
    "training",
    "metrics",
]


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON)
def test_whatever_stands_anywhere_is_a_spec_or_a_list_of_problems(place: str, value: Any) -> None:
    found = read_draft(changed(**{place: value}))
    assert (found.spec is None) == bool(found.problems)
    for problem in found.problems:
        assert problem.message and "\x00" not in problem.path
        orjson.dumps([problem.got, problem.allowed])
