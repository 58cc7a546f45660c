"""What does not fit the protocol or the model: a sentence under `error` and a status from 400 to 499, whatever came."""

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

LENGTH = "Inference-Header-Content-Length"
GOOD = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
Json = dict[str, Any]


def one(**more: Any) -> Json:
    """A request with one tensor that is not quite `GOOD`."""
    return {"inputs": [{**GOOD, **more}]}


def post(served: Any, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return served.api.client.post(f"/v2/models/{served.id}/infer", content=content, headers=headers)


def assert_refused(answer: Any, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["error"] == body["detail"] and words in body["error"], body["error"]
    assert body["status"] == status


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not valid JSON"),
        ([], 422, "must be an object"),
        ({}, 422, "inputs: is required"),
        ({"inputs": []}, 422, "inputs: must be at least 1 long"),
        ({"inputs": {}}, 422, "inputs: must be a list"),
        (one(shape=[-1, 4]), 422, "inputs[0].shape[0]: must be at least 0"),
        (one(shape="4"), 422, "inputs[0].shape: must be a list"),
        (one(shape=[1.5]), 422, "inputs[0].shape[0]: must be a whole number"),
        (one(shape=[2, 4]), 422, "inputs.input: its data must be a list of 8 values"),
        (one(shape=[2**39, 2**39]), 422, "inputs.input: its data must be a list of"),
        (one(shape=[0, 4], data=[]), 422, "must have at least one row"),
        (one(shape=[]), 422, "inputs.input: its data must be a list of 1 values"),
        (one(shape=[], data=[1]), 422, "must hold numbers, [rows, columns]"),
        (one(shape=[4]), 422, "must hold numbers, [rows, columns]"),
        (one(data=[1, 2, 3]), 422, "a list of 4 values"),
        (one(data=[[1, 2], 3, 4]), 422, "a list of 4 values"),
        (one(data=None), 422, "a list of 4 values"),
        (one(data={"a": 1}), 422, "a list of 4 values"),
        (one(data=[1, 2, 3, "4"]), 422, "FP32 is numbers"),
        (one(data=[1, 2, 3, True]), 422, "FP32 is numbers"),
        (one(datatype="INT8", data=[1, 2, 3, 1.5]), 422, "INT8 is whole numbers"),
        (one(datatype="INT8", data=[1, 2, 3, 128]), 422, "a number that INT8 does not reach to"),
        (one(datatype="BYTES", data=["1", "2", "3", "4"]), 422, "must hold numbers"),
        (one(datatype="BYTES"), 422, "BYTES is text"),
        (one(datatype="BOOL"), 422, "BOOL is true or false"),
        (one(datatype="FLOAT"), 422, "a datatype that the protocol does not know"),
        (
            one(datatype="FP64", data=[1e39, 2, 3, 4]),
            422,
            "rows[0].sepal length (cm): must be a finite number in float32",
        ),
        (one(data=[None, 2, 3, 4]), 422, "rows[0].sepal length (cm): is missing"),
        (one(name="x"), 422, "inputs.x: is no column of the model"),
        (one(name=""), 422, "inputs[0].name"),
        (one(parameters=[]), 422, "inputs[0].parameters: must be an object"),
        (one(parameters={"shared_memory_region": "r"}), 422, "shared memory"),
        (one(parameters={"binary_data_size": "16"}), 422, "binary_data_size must be a whole number"),
        (one(parameters={"binary_data_size": 16}), 422, "takes 16 bytes"),
        ({"inputs": [GOOD, GOOD]}, 422, "inputs.input: is there twice"),
        ({"inputs": [GOOD, {**GOOD, "name": "sepal width (cm)"}]}, 422, "inputs.input: is no column of the model"),
        (one(name="sepal width (cm)", shape=[4]), 422, "inputs.sepal length (cm): has no tensor"),
        ({"inputs": [GOOD], "parameters": {"mc_samples": -1}}, 422, "parameters.mc_samples: must be at least 0"),
        (
            {"inputs": [GOOD], "parameters": {"mc_samples": "many"}},
            422,
            "parameters.mc_samples: must be a whole number",
        ),
        ({"inputs": [GOOD], "parameters": {"mc_samples": 10**6}}, 422, "mc_samples: must be at most 100000"),
        ({"inputs": [GOOD], "parameters": {"quantiles": "0.5,2"}}, 422, "parameters.quantiles[1]"),
        ({"inputs": [GOOD], "parameters": {"rows": [[1, 2, 3, 4]]}}, 422, "parameters.rows: is not a parameter"),
        ({"inputs": [GOOD], "outputs": [{"name": "logits"}]}, 422, "outputs.logits: is no output of the model"),
        (
            {"inputs": [GOOD], "outputs": [{"name": "label", "parameters": {"classification": 3}}]},
            422,
            "outputs.label.parameters.classification",
        ),
    ],
)
def test_what_does_not_fit_is_refused(flowers: Any, body: Any, status: int, words: str) -> None:
    assert_refused(post(flowers, body), status, words)


def test_columns_are_refused_by_name(goods: Any) -> None:
    def ask(name: str, datatype: str, data: list[Any]) -> Any:
        good = {"count": ("INT64", [1, 2]), "colour": ("BYTES", ["red", "blue"]), "sold": ("BOOL", [True, False])}
        tensors = {**good, name: (datatype, data)}
        return post(
            goods,
            {"inputs": [{"name": k, "shape": [len(v)], "datatype": d, "data": v} for k, (d, v) in tensors.items()]},
        )

    assert ask("count", "INT8", [1, 2]).status_code == 200
    for name, datatype, data, words in (
        ("count", "BYTES", ["1", "2"], "rows[0].count: must be null or a finite number"),
        ("count", "BOOL", [True, False], "rows[0].count: must be null or a finite number"),
        ("colour", "FP32", [1, 2], "rows[0].colour: must be text"),
        ("sold", "INT8", [0, 1], "rows[0].sold: must be null or true or false"),
        ("count", "INT64", [1, 2, 3], "inputs.colour: has another number of rows"),
        ("input", "INT64", [1, 2], "inputs.input: is no column of the model"),
    ):
        assert_refused(ask(name, datatype, data), 422, words)
    alone = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    assert_refused(post(goods, alone), 422, "serves only models whose columns are all numbers")
    assert_refused(post(goods, b"1234", **{LENGTH: "0"}), 422, "only a model with a single column")


def test_images_of_another_shape_are_refused(images: Any) -> None:
    flat = {"inputs": [{"name": "image", "shape": [1, 64], "datatype": "UINT8", "data": [0] * 64}]}
    assert_refused(post(images, flat), 422, "must hold numbers of its column's shape")
    assert_refused(post(images, b"1" * 65, **{LENGTH: "0"}), 422, "takes 64 bytes")
    assert_refused(post(images, b"", **{LENGTH: "0"}), 422, "at least one row")


def binary(size: int, raw: bytes, **more: Any) -> tuple[bytes, str]:
    """A request with one binary tensor, and the length of its JSON."""
    tensor = {**{k: v for k, v in GOOD.items() if k != "data"}, "parameters": {"binary_data_size": size}, **more}
    header = json.dumps({"inputs": [tensor]}).encode()
    return header + raw, str(len(header))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (binary(16, bytes(12)), "takes 16 bytes"),
        (binary(12, bytes(12)), "takes 16 bytes"),
        (binary(16, bytes(20)), "20 stand behind the JSON"),
        (binary(-1, bytes(16)), "binary_data_size must be a whole number"),
        (binary(16, b"\x00\x00\xc0\x7f" * 4), "is missing"),
        (binary(16, b"\x00\x00\x80\x7f" * 4), "must be a finite number"),
        (binary(4, b"\x05\x00\x00\x00", datatype="BYTES", shape=[1]), "each behind its length"),
        (binary(8, b"\xff\xff\xff\xff" * 2, datatype="BYTES", shape=[1]), "each behind its length"),
        (binary(5, b"\x01\x00\x00\x00\xff", datatype="BYTES", shape=[1]), "not UTF-8"),
        (binary(0, b"", shape=[0, 4]), "at least one row"),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(flowers: Any, body: tuple[bytes, str], words: str) -> None:
    content, length = body
    assert_refused(post(flowers, content, **{LENGTH: length}), 422, words)


@pytest.mark.parametrize(
    ("length", "status", "words"),
    [
        ("9999", 400, "the body has only"),
        ("9" * 30, 400, "the body has only"),
        ("-1", 422, f"{LENGTH}: must be greater than or equal to 0"),
        ("1.5", 422, f"{LENGTH}: must be a valid integer"),
        ("\u0663".encode().decode("latin-1"), 422, f"{LENGTH}: must be a valid integer"),
        ("3", 400, "not valid JSON"),
        ("0", 422, "bytes without JSON serve only a model with a single column"),
    ],
)
def test_a_length_that_cannot_be_is_refused(flowers: Any, length: str, status: int, words: str) -> None:
    answer = flowers.api.client.post(
        f"/v2/models/{flowers.id}/infer",
        content=b'{"inputs": []}',
        headers=[(LENGTH.encode(), length.encode("latin-1"))],
    )
    assert_refused(answer, status, words)


@pytest.mark.parametrize(
    ("encoding", "body", "status", "words"),
    [
        ("gzip", b"rubbish", 400, "cannot be unpacked"),
        ("gzip", gzip.compress(json.dumps(one()).encode(), mtime=0)[:-9], 400, "not a whole piece of gzip"),
        ("deflate", zlib.compress(b"{}") + b"more", 400, "not a whole piece of deflate"),
        ("gzip", gzip.compress(b"{}", mtime=0), 422, "inputs: is required"),
        ("br", b"{}", 415, "by gzip or deflate, not 'br'"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(flowers: Any, encoding: str, body: bytes, status: int, words: str) -> None:
    assert_refused(post(flowers, body, **{"Content-Encoding": encoding}), status, words)


def test_a_bomb_is_not_unpacked(flowers: Any) -> None:
    """A thousand times as much comes out of it as went in, and stops at the limit on bodies."""
    bomb = zlib.compress(b" " * (65 * 1024 * 1024), 9)
    assert len(bomb) < 100_000
    assert_refused(post(flowers, bomb, **{"Content-Encoding": "deflate"}), 413, "once it is unpacked")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nothing", 404),
        ("GET", "/v2/models/nothing/ready", 404),
        ("GET", "/v2/models/nothing/config", 404),
        ("POST", "/v2/models/nothing/infer", 404),
        ("GET", "/v2/models/MODEL/versions/2", 404),
        ("GET", "/v2/models/MODEL/versions/2/ready", 404),
        ("GET", "/v2/models/MODEL/versions/2/config", 404),
        ("POST", "/v2/models/MODEL/versions/2/infer", 404),
        ("GET", "/v2/models/MODEL?x=1", 422),
        ("POST", "/v2/models/MODEL/infer?x=1", 422),
        ("GET", "/v2/models/MODEL/infer", 405),
        ("DELETE", "/v2/models/MODEL", 405),
        ("GET", "/v2/nothing", 404),
        ("POST", "/v2/repository/models/MODEL/load", 404),
        ("GET", "/v2/systemsharedmemory/status", 404),
    ],
)
def test_wrong_turns_are_answered_in_the_protocols_form(flowers: Any, method: str, path: str, status: int) -> None:
    answer = flowers.api.client.request(method, path.replace("MODEL", flowers.id), content=b"{}")
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["error"], str)


def test_v1_keeps_its_own_form(flowers: Any) -> None:
    assert "error" not in flowers.api.client.get("/v1/models/nothing").json()


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_nothing_that_is_sent_gets_a_5xx(flowers: Any) -> None:
    members = st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["input", "x"]) | values,
            "shape": st.lists(st.integers(-1, 5), max_size=3) | values,
            "datatype": st.sampled_from(["FP32", "INT64", "BOOL", "BYTES", "BF16"]) | values,
            "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": values}) | values,
            "data": values,
        },
    )
    request = st.fixed_dictionaries(
        {"inputs": st.lists(members, max_size=2)},
        optional={
            "id": values,
            "parameters": st.fixed_dictionaries({}, optional={"mc_samples": values, "quantiles": values}) | values,
            "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["label", "samples"]) | values}))
            | values,
        },
    )

    @given(request, st.none() | st.integers(0, 200), st.binary(max_size=20))
    @hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def check(body: Any, length: int | None, raw: bytes) -> None:
        headers = {} if length is None else {LENGTH: str(length)}
        answer = post(flowers, json.dumps(body).encode() + raw, **headers)
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
        assert answer.status_code == 200 or isinstance(answer.json()["error"], str)

    check()
