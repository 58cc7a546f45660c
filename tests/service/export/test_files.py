"""What exported files take and give: raw columns of every kind, and the answers of the service."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import Tensor, nn

from service.data.profile import ColumnProfile
from service.errors import NotExportable
from service.export import onnx_file, torch_file
from service.export.check import check
from service.export.files import write, written
from service.export.graph import graph_of
from tests.service.export.asking import onnx_answers, service_answers, torch_answers
from tests.service.export.test_every_block import said_by_onnx, said_by_torch
from tests.support.untrained import Json, Untrained, untrained

NETWORK: Json = {
    "layers": [
        {"type": "dense", "units": 8, "activation": "tanh"},
        {"type": "dropout", "rate": 0.2},
        {"type": "dense", "units": "auto"},
    ]
}
COLOURS = ("red", "green", "blue", "grey")


def shop() -> bytes:
    """Numbers and words, some of them missing, true and false, and a column that is called as an output is."""
    source = np.random.Generator(np.random.Philox(1))
    lines = ["größe,colour,shade,new,mean,kind,amount"]
    for i in range(60):
        size = "" if i % 7 == 3 else f"{source.normal():.3f}"
        colour = "" if i % 9 == 4 else COLOURS[int(source.integers(0, 4)) if i else 3]
        shade = ("dark", "light")[i % 2]
        lines.append(
            f"{size},{colour},{shade},{('true', 'false')[i % 3 > 0]},{source.normal():.3f},{'abc'[i % 3]},{i}.5"
        )
    return "\n".join(lines).encode()


STEPS: list[Json] = [
    {"type": "impute", "columns": ["größe"], "strategy": "median", "indicator": True},
    {"type": "impute", "columns": ["colour"], "strategy": "most_frequent"},
    {"type": "one_hot", "columns": ["colour"], "unknown": "ignore", "min_frequency": 8},
    {"type": "ordinal", "columns": ["shade"]},
    {"type": "standardize"},
]
FEATURES = ["größe", "colour", "shade", "new", "mean"]


@pytest.fixture(scope="module")
def mixed() -> Untrained:
    body = {
        "network": NETWORK,
        "loss": "cross_entropy",
        "data": {"target": "kind", "features": FEATURES, "preprocessing": STEPS},
    }
    return untrained(shop(), "csv", body)


@pytest.fixture(scope="module")
def mixed_onnx(mixed: Untrained) -> bytes:
    return write(mixed.row, mixed.loaded, "onnx", dropout=False)[0]


@pytest.fixture(scope="module")
def mixed_torch(mixed: Untrained) -> bytes:
    return write(mixed.row, mixed.loaded, "torch", dropout=False)[0]


ROWS: list[list[Any]] = [
    [0.5, "red", "dark", True, 0.1],
    [None, "green", "light", False, -1.5],
    [1e6, None, "dark", True, 0.0],
    [-0.25, "purple", "light", False, 3.0],
]


def columns(rows: list[list[Any]]) -> dict[str, Any]:
    """Rows as the inputs of the ONNX file: a missing number is NaN, a missing word empty."""
    sizes, colours, shades, new, means = zip(*rows, strict=True)
    return {
        "größe": np.array([np.nan if size is None else size for size in sizes]),
        "colour": np.array([colour or "" for colour in colours], object),
        "shade": np.array([shade or "" for shade in shades], object),
        "new": np.array(new, np.float64),
        "input:mean": np.array(means, np.float64),
    }


def test_columns_of_every_kind_come_in_by_their_names(mixed: Untrained, mixed_onnx: bytes) -> None:
    truth = service_answers(mixed.loaded, ROWS)
    found = onnx_answers(mixed_onnx, columns(ROWS))["probabilities"]
    assert found == pytest.approx(truth, abs=1e-6)
    session = onnxruntime.InferenceSession(mixed_onnx)
    inputs = {value.name: (value.type, value.shape) for value in session.get_inputs()}
    assert inputs == {
        "größe": ("tensor(double)", ["rows"]),
        "colour": ("tensor(string)", ["rows"]),
        "shade": ("tensor(string)", ["rows"]),
        "new": ("tensor(double)", ["rows"]),
        "input:mean": ("tensor(double)", ["rows"]),
    }
    (output,) = session.get_outputs()
    assert (output.name, output.shape) == ("probabilities", ["rows", 3])


def test_any_number_of_rows_is_answered(mixed: Untrained, mixed_onnx: bytes) -> None:
    for count in (1, 2, 1000):
        rows = [ROWS[i % 4] for i in range(count)]
        assert onnx_answers(mixed_onnx, columns(rows))["probabilities"].shape == (count, 3)


@pytest.mark.parametrize(
    "row",
    [
        [0.5, "red", "neon", True, 0.1],
        [0.5, "red", None, True, 0.1],
        [0.5, "red", "dark", True, float("nan")],
        [float("inf"), "red", "dark", True, 0.1],
    ],
)
def test_rows_that_the_service_refuses_are_nan(mixed: Untrained, mixed_onnx: bytes, row: list[Any]) -> None:
    found = onnx_answers(mixed_onnx, columns([ROWS[0], row]))["probabilities"]
    assert np.isnan(found[1]).all()
    assert found[:1] == pytest.approx(service_answers(mixed.loaded, ROWS[:1]), abs=1e-6)


@pytest.mark.parametrize("word", ["NA", "?", "null"])
def test_words_that_stand_for_none_do_so_in_the_file_too(mixed: Untrained, mixed_onnx: bytes, word: str) -> None:
    rows: list[list[Any]] = [[0.5, word, "dark", True, 0.1]]
    truth = service_answers(mixed.loaded, rows)
    assert onnx_answers(mixed_onnx, columns(rows))["probabilities"] == pytest.approx(truth, abs=1e-6)


def test_a_file_of_torch_takes_numbers_as_a_matrix_and_words_by_their_codes(
    mixed: Untrained, mixed_torch: bytes
) -> None:
    about = said_by_torch(mixed_torch)
    numbers, words = about["inputs"]
    assert (numbers["name"], numbers["columns"]) == ("numbers", ["größe", "new", "mean"])
    assert (numbers["shape"], words["shape"], words["dtype"]) == (["rows", 3], ["rows", 2], "int64")
    code = {name: {word: i for i, word in enumerate(column["codes"])} for name, column in words["columns"].items()}
    given = np.array([[np.nan if r[0] is None else r[0], r[3], r[4]] for r in ROWS], np.float64)
    codes = [[-2 if r[1] is None else code["colour"].get(r[1], -1), code["shade"].get(r[2], -1)] for r in ROWS]
    (found,) = torch_answers(mixed_torch, given, np.array(codes))
    assert found == pytest.approx(service_answers(mixed.loaded, ROWS), abs=1e-6)


def test_a_file_says_what_it_is(mixed: Untrained, mixed_onnx: bytes) -> None:
    about = said_by_onnx(mixed_onnx)
    assert about["classes"] == ["a", "b", "c"] and about["targets"] == ["kind"]
    assert [value["name"] for value in about["inputs"]] == ["größe", "new", "input:mean", "colour", "shade"]
    assert about["outputs"] == [{"name": "probabilities", "holds": "of each class or label, in the order of `classes`"}]
    assert (about["weights_sha256"], about["model"]) == (mixed.row.weights_sha256, mixed.row.id)
    assert about["refused_rows"] == "NaN" and about["versions"]["onnx"]


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_a_file_tells_nothing_of_the_machine_it_was_made_on(request: pytest.FixtureRequest, format: str) -> None:
    data: bytes = request.getfixturevalue(f"mixed_{format}")
    root = str(Path(__file__).parents[3])
    assert root.encode() not in data and sys.prefix.encode() not in data
    assert b"stack_trace" not in data


def test_a_file_of_torch_needs_none_of_our_code(mixed_torch: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(mixed_torch)
    code = (
        "import sys, torch\n"
        "model = torch.export.load('model.pt2').module()\n"
        "out = model(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.int64))\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('service', 'worker')]\n"
        "print(tuple(out[0].shape))"
    )
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(2, 3)", done.stderr


def reviews() -> bytes:
    texts = ["Good wine, good price.", "It's bad", "good", "bad bad price!", "Not good, not bad; don't know"] * 8
    lines = [f'"{text}",{("good", "bad")["bad" in text]}' for text in texts]
    return "\n".join(["review,verdict", *lines]).encode()


@pytest.mark.parametrize(("level", "pad"), [("word", "after"), ("character", "before")])
def test_text_comes_in_as_tokens_that_the_file_looks_up(level: str, pad: str) -> None:
    step = {"type": "tokenize", "length": 6, "level": level, "pad": pad, "min_frequency": 2}
    layers = [{"type": "embedding", "output_dim": 4}, {"type": "flatten"}, *NETWORK["layers"]]
    body = {
        "network": {"layers": layers},
        "loss": "cross_entropy",
        "data": {"target": "verdict", "preprocessing": [step]},
    }
    model = untrained(reviews(), "csv", body)
    loaded = model.loaded
    graph = graph_of(loaded)
    texts = ["Good price, but don't", "", "zzz bad", "a much longer text than six tokens have room for"]
    frame = loaded.features.read_rows([{"review": text or None} for text in texts])
    truth = service_answers(loaded, [{"review": text or None} for text in texts])
    data, _ = written(model.row, loaded, graph, "onnx")
    given = onnx_file.columns_of(graph.inputs, frame)
    assert given["review"].shape == (4, 6) and set(given["review"][1]) == {""}
    assert onnx_answers(data, given)["probabilities"] == pytest.approx(truth, abs=1e-6)
    data, _ = written(model.row, loaded, graph, "torch")
    ids = torch_file.given_of(graph.inputs, frame)
    assert torch_answers(data, *ids)[0] == pytest.approx(truth, abs=1e-6)
    (about,) = said_by_torch(data)["inputs"]
    assert (about["tokens"]["pad"], about["tokens"]["level"], about["shape"]) == (pad, level, ["rows", 6])


def test_text_that_is_changed_before_it_is_cut_is_refused_by_name() -> None:
    steps: list[Json] = [
        {"type": "impute", "strategy": "constant", "fill_value": "none"},
        {"type": "tokenize", "length": 4},
    ]
    layers = [{"type": "embedding", "output_dim": 4}, {"type": "flatten"}, {"type": "dense", "units": "auto"}]
    body = {
        "network": {"layers": layers},
        "loss": "cross_entropy",
        "data": {"target": "verdict", "preprocessing": steps},
    }
    with pytest.raises(NotExportable) as refused:
        graph_of(untrained(reviews(), "csv", body).loaded)
    assert refused.value.problems[0].path == "data.preprocessing[1]"


def test_several_numbers_come_back_in_their_own_units() -> None:
    lines = ["a,b,first,second", *(f"{i},{i * i % 17},{1000 + 30 * i},{0.001 * i}" for i in range(40))]
    body = {
        "network": NETWORK,
        "loss": "gaussian_nll",
        "data": {"target": ["first", "second"], "preprocessing": "min_max", "target_preprocessing": "standardize"},
    }
    model = untrained("\n".join(lines).encode(), "csv", body)
    rows = [[3.0, 4.0], [30.0, 1.0]]
    found = onnx_answers(
        write(model.row, model.loaded, "onnx", dropout=False)[0], dict(zip("ab", np.array(rows).T, strict=True))
    )
    for name in ("mean", "aleatoric_std"):
        assert found[name].dtype == np.float64
        assert found[name] == pytest.approx(service_answers(model.loaded, rows, name), rel=1e-5)


def test_vectors_stand_beside_numbers(tmp_path: Path) -> None:
    source = np.random.Generator(np.random.Philox(2))
    file = tmp_path / "data.npz"
    np.savez(file, v=source.normal(size=(40, 3)), n=source.normal(size=40), y=np.arange(40) % 2)
    body = {
        "network": NETWORK,
        "loss": "binary_cross_entropy",
        "data": {"target": "y", "preprocessing": [{"type": "pca_whitening", "components": 2}]},
    }
    model = untrained(file.read_bytes(), "npz", body)
    data = write(model.row, model.loaded, "onnx", dropout=False)[0]
    rows = [{"v": [0.1, 0.2, 0.3], "n": 1.0}, {"v": [-1.0, 0.0, 2.0], "n": -1.0}]
    given = {"v": np.array([row["v"] for row in rows]), "n": np.array([row["n"] for row in rows])}
    assert onnx_answers(data, given)["probabilities"] == pytest.approx(service_answers(model.loaded, rows), abs=1e-6)


DIGITS = Path(__file__).parents[3] / "examples" / "digits.npz"


def test_images_come_in_as_they_were_uploaded() -> None:
    layers: list[Json] = [
        {"type": "conv2d", "filters": 8, "kernel_size": 3, "activation": "relu"},
        {"type": "batch_norm"},
        {"type": "flatten"},
        *NETWORK["layers"],
    ]
    data = {"target": "y", "preprocessing": "min_max"}
    model = untrained(
        DIGITS.read_bytes(), "npz", {"network": {"layers": layers}, "loss": "cross_entropy", "data": data}
    )
    loaded = model.loaded
    for name, values in loaded.monte_carlo.network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            values.uniform_(0.5, 1.5)  # what training would have found
    images = np.load(DIGITS)["x"][:20]
    truth = service_answers(loaded, [{"x": image} for image in images.tolist()])
    graph = graph_of(loaded)
    given = images.astype(np.float32)
    found = onnx_answers(written(model.row, loaded, graph, "onnx")[0], {"input": given})
    assert found["probabilities"] == pytest.approx(truth, abs=1e-6)
    assert torch_answers(written(model.row, loaded, graph, "torch")[0], given)[0] == pytest.approx(truth, abs=1e-6)


class LooksAtValues(nn.Module):
    """What no graph can follow: where to go depends on the numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x if bool(x.sum() > 0) else -x


def test_a_layer_that_no_graph_can_follow_is_refused_by_name(mixed: Untrained) -> None:
    loaded = mixed.loaded
    network = loaded.monte_carlo.network
    name = network.records[1].name
    network.layers[name] = LooksAtValues()
    object.__setattr__(network.records[1], "module", network.layers[name])
    with pytest.raises(NotExportable) as refused:
        graph_of(loaded)
    (problem,) = refused.value.problems
    assert (problem.path, problem.got) == ("network.layers[1]", "dropout")


def test_a_file_that_answers_otherwise_is_not_given_out(mixed: Untrained) -> None:
    loaded = mixed.loaded
    graph = graph_of(loaded)
    ask = torch_file.asking(torch_file.write(graph, ""), graph)
    columns = [ColumnProfile.model_validate(column) for column in mixed.row.columns]
    assert check(loaded, graph, columns, ask).largest_difference is not None
    with pytest.raises(NotExportable, match=r"differs from the service by 0\.0001"):
        check(loaded, graph, columns, lambda frame: {name: values + 1e-4 for name, values in ask(frame).items()})


def test_dropout_is_for_networks_that_have_some() -> None:
    layers = [{"type": "dense", "units": "auto"}]
    body = {"network": {"layers": layers}, "loss": "cross_entropy", "data": {"target": "kind", "features": ["mean"]}}
    model = untrained(shop(), "csv", body)
    with pytest.raises(NotExportable, match="no layer of this network is random"):
        write(model.row, model.loaded, "onnx", dropout=True)


def test_weights_that_no_onnx_file_can_hold_are_refused(mixed: Untrained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 100)
    with pytest.raises(NotExportable) as refused:
        write(mixed.row, mixed.loaded, "onnx", dropout=False)
    assert refused.value.problems[0].allowed == ["safetensors", "torch"]


def test_files_are_what_the_checker_of_onnx_accepts(mixed_onnx: bytes) -> None:
    onnx.checker.check_model(onnx.load_from_string(mixed_onnx), full_check=True)
    assert json.loads(onnx.load_from_string(mixed_onnx).metadata_props[0].value)["task"] == "classification"
