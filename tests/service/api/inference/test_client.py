"""The stock Triton client, unchanged, against every kind of model: what it is told is what `/v1` answers."""

import importlib
import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.api.inference.asking import FLOWER, FLOWERS, inputs, outputs, tritonclient

TritonError = importlib.import_module("tritonclient.utils").InferenceServerException
CLASS_OUTPUTS = [
    "label", "probabilities", "probabilities_std", "predictive_entropy", "expected_entropy", "mutual_information",
    "variation_ratio",
]  # fmt: skip
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def column(predictions: list[dict[str, Any]], name: str) -> Any:
    """A field of all predictions as an array."""
    values = [row[name] for row in predictions]
    return np.array([list(value.values()) if isinstance(value, dict) else value for value in values])


def test_it_finds_the_server_and_its_models(triton: Any, flowers: Any) -> None:
    assert triton.is_server_live() and triton.is_server_ready()
    about = triton.get_server_metadata()
    assert about["name"] == "trainyard" and "binary_tensor_data" in about["extensions"]
    for version in ("", "1"):
        assert triton.is_model_ready(flowers.id, version)
        assert triton.get_model_metadata(flowers.id, version) == triton.get_model_metadata(flowers.id)
        assert triton.get_model_config(flowers.id, version) == triton.get_model_config(flowers.id)
    assert not triton.is_model_ready(flowers.id, "2")
    assert not triton.is_model_ready("mdl_" + "0" * 26)
    assert flowers.id in [entry["name"] for entry in triton.get_model_repository_index()]


def test_metadata_says_what_to_send_and_what_comes(triton: Any, flowers: Any) -> None:
    found = triton.get_model_metadata(flowers.id)
    assert (found["name"], found["versions"], found["platform"]) == (flowers.id, ["1"], "trainyard")
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in found["inputs"]] == [
        (name, "FP64", [-1]) for name in FLOWER
    ]
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in found["outputs"]] == [
        ("label", "BYTES", [-1]),
        *((name, "FP32", [-1, 3]) for name in ("probabilities", "probabilities_std")),
        *((name, "FP32", [-1]) for name in CLASS_OUTPUTS[3:]),
        ("samples", "FP32", [-1, -1, 3]),
    ]
    names = found["outputs"][1]["parameters"]["names"]
    assert json.loads(names) == ["setosa", "versicolor", "virginica"]
    config = triton.get_model_config(flowers.id)
    assert config["max_batch_size"] == 0
    assert config["input"][0] == {"name": FLOWER[0], "data_type": "TYPE_FP64", "dims": [-1]}
    assert config["output"][0] == {"name": "label", "data_type": "TYPE_STRING", "dims": [-1]}


def test_metadata_of_other_kinds_of_models(triton: Any, patients: Any, images: Any, goods: Any) -> None:
    regression = {tensor["name"]: tensor for tensor in triton.get_model_metadata(patients.id)["outputs"]}
    assert {name: tensor["shape"] for name, tensor in regression.items()} == {
        "mean": [-1], "std": [-1], "epistemic_std": [-1], "aleatoric_std": [-1], "quantiles": [-1, -1],
        "samples": [-1, -1],
    }  # fmt: skip
    assert {tensor["datatype"] for tensor in regression.values()} == {"FP64"}
    assert triton.get_model_metadata(images.id)["inputs"] == [
        {"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8], "parameters": {}}
    ]
    assert triton.get_model_metadata(images.id)["outputs"][0]["datatype"] == "INT64"
    kinds = {tensor["name"]: tensor["datatype"] for tensor in triton.get_model_metadata(goods.id)["inputs"]}
    assert kinds == {"size": "FP64", "count": "INT64", "colour": "BYTES", "sold": "BOOL"}


@pytest.mark.parametrize("datatype", [np.float64, np.float32])
@pytest.mark.parametrize("side_by_side", [True, False])
def test_it_predicts_as_v1_does(triton: Any, flowers: Any, binary: bool, datatype: Any, side_by_side: bool) -> None:
    rows = FLOWERS.astype(datatype)
    columns = {"input": rows} if side_by_side else {name: rows[:, i] for i, name in enumerate(FLOWER)}
    found = triton.infer(
        flowers.id, inputs(columns, binary), outputs=outputs(*CLASS_OUTPUTS, binary=binary), request_id="r-1",
        parameters={"mc_samples": 20, "seed": 3},
    )  # fmt: skip
    expected = flowers.predict(rows.tolist(), mc_samples=20, seed=3)["predictions"]
    assert found.as_numpy("label").astype(str).tolist() == [row["label"] for row in expected]
    for name in CLASS_OUTPUTS[1:]:
        assert found.as_numpy(name).dtype == np.float32
        np.testing.assert_allclose(found.as_numpy(name), column(expected, name), **CLOSE)
    about = found.get_response()
    assert (about["model_name"], about["model_version"], about["id"]) == (flowers.id, "1", "r-1")
    assert (about["parameters"]["mc_samples"], about["parameters"]["seed"]) == (20, 3)
    assert json.loads(about["parameters"]["stochastic_layers"]) == ["dropout_1"]
    names = json.loads(found.get_output("probabilities")["parameters"]["names"])
    assert names == ["setosa", "versicolor", "virginica"]


def test_only_what_is_asked_for_is_answered(triton: Any, flowers: Any, binary: bool) -> None:
    asked = inputs({"input": FLOWERS}, binary)
    every = triton.infer(flowers.id, asked).get_response()["outputs"]
    assert [output["name"] for output in every] == CLASS_OUTPUTS
    assert all("binary_data_size" in output["parameters"] for output in every), "which is what the client asks for"
    wanted = [*outputs("predictive_entropy", binary=False), *outputs("samples", binary=True)]
    found = triton.infer(flowers.id, asked, outputs=wanted, parameters={"mc_samples": 7})
    first, second = found.get_response()["outputs"]
    assert (first["name"], len(first["data"])) == ("predictive_entropy", 3)
    assert (second["name"], second["shape"], "data" in second) == ("samples", [3, 7, 3], False)
    expected = flowers.predict(FLOWERS.tolist(), mc_samples=7, return_samples=True)["predictions"]
    np.testing.assert_allclose(found.as_numpy("samples"), column(expected, "samples"), **CLOSE)
    with_samples = triton.infer(flowers.id, asked, parameters={"return_samples": True, "mc_samples": 2})
    assert with_samples.as_numpy("samples").shape == (3, 2, 3)
    without = triton.infer(flowers.id, asked, outputs=outputs("samples"), parameters={"mc_samples": 0})
    assert without.as_numpy("samples").shape == (3, 0)


@pytest.mark.parametrize("levels", ["[0.1, 0.5, 0.9]", "0.1,0.5,0.9"])
def test_regressions_are_answered_in_their_own_units(triton: Any, patients: Any, binary: bool, levels: str) -> None:
    rows = np.array(
        [[59, 2, 32.1, 101.0, 157, 93.2, 38.0, 4.0, 4.8598, 87], [48, 1, 21.6, 87, 183, 103, 70, 3, 3.89, 69]]
    )
    names = ("mean", "std", "epistemic_std", "aleatoric_std", "quantiles")
    found = triton.infer(
        patients.id, inputs({"input": rows}, binary), outputs=outputs(*names, binary=binary),
        parameters={"quantiles": levels, "mc_samples": 30},
    )  # fmt: skip
    expected = patients.predict(rows.tolist(), quantiles=[0.1, 0.5, 0.9], mc_samples=30)["predictions"]
    for name in ("mean", "std", "epistemic_std", "quantiles"):
        np.testing.assert_allclose(found.as_numpy(name), column(expected, name), rtol=1e-4)
    assert json.loads(found.get_output("quantiles")["parameters"]["names"]) == ["0.1", "0.5", "0.9"]
    np.testing.assert_allclose(found.as_numpy("aleatoric_std"), column(expected, "aleatoric_std"), rtol=1e-4)
    bare = triton.infer(
        patients.id, inputs({"input": rows}, binary), outputs=outputs("aleatoric_std", binary=binary),
        parameters={"mc_samples": 0},
    )  # fmt: skip
    assert np.isnan(bare.as_numpy("aleatoric_std")).all(), "which this loss does not model by itself"


def test_images_are_tensors(triton: Any, images: Any, binary: bool) -> None:
    pixels = (np.arange(3 * 64).reshape(3, 8, 8) % 17).astype(np.uint8)
    expected = images.predict([{"image": image.tolist()} for image in pixels])["predictions"]
    for name, values in (("image", pixels), ("input", pixels), ("image", pixels.astype(np.float32))):
        found = triton.infer(images.id, inputs({name: values}, binary))
        assert found.as_numpy("label").tolist() == [row["label"] for row in expected]
        np.testing.assert_allclose(found.as_numpy("probabilities"), column(expected, "probabilities"), **CLOSE)


def test_numbers_words_and_what_is_missing(triton: Any, goods: Any, binary: bool) -> None:
    columns = {
        "size": np.array([1.5, np.nan]) if binary else np.array([1.5, 2.5]),
        "count": np.array([3, 4], np.int16),
        "colour": np.array(["red", "blue"], object),
        "sold": np.array([True, False]),
    }
    expected = goods.predict(
        [
            {"size": 1.5, "count": 3, "colour": "red", "sold": True},
            {"size": None if binary else 2.5, "count": 4, "colour": "blue", "sold": False},
        ]
    )["predictions"]
    for found in (
        triton.infer(goods.id, inputs(columns, binary)),
        triton.infer(goods.id, inputs({name: values.reshape(2, 1) for name, values in columns.items()}, binary)),
    ):
        np.testing.assert_allclose(found.as_numpy("probabilities"), column(expected, "probabilities"), **CLOSE)
    # A column with a step that fills it in need not be sent at all.
    del columns["size"]
    rows = [
        {name: values[i].item() if name != "colour" else values[i] for name, values in columns.items()} for i in (0, 1)
    ]
    found = triton.infer(goods.id, inputs(columns, binary))
    expected = goods.predict(rows)["predictions"]
    np.testing.assert_allclose(found.as_numpy("probabilities"), column(expected, "probabilities"), **CLOSE)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bodies_may_be_compressed(triton: Any, flowers: Any, binary: bool, algorithm: str) -> None:
    asked = inputs({"input": FLOWERS}, binary)
    plain = triton.infer(flowers.id, asked)
    packed = triton.infer(
        flowers.id, asked, request_compression_algorithm=algorithm, response_compression_algorithm=algorithm
    )
    np.testing.assert_array_equal(packed.as_numpy("probabilities"), plain.as_numpy("probabilities"))


def test_an_alias_is_a_model_name(triton: Any, flowers: Any) -> None:
    flowers.api.client.put(f"/v1/models/{flowers.id}/aliases/iris@v2").raise_for_status()
    assert triton.is_model_ready("iris@v2") and triton.get_model_metadata("iris@v2")["name"] == "iris@v2"
    assert triton.get_model_config("iris@v2")["parameters"]["job"]["string_value"].startswith("job_")
    for version in ("", "1"):
        found = triton.infer("iris@v2", inputs({"input": FLOWERS}), model_version=version)
        assert found.get_response()["model_name"] == "iris@v2"
    assert "iris@v2" in [entry["name"] for entry in triton.get_model_repository_index()]


def test_many_clients_at_once_are_answered_as_one_would_be(flowers: Any) -> None:
    port = flowers.api.client.base_url.port
    chance = np.random.default_rng(0)
    asked = [chance.normal(4, 2, (1 + i % 3, 4)) for i in range(40)]
    expected = [
        column(flowers.predict(rows.tolist(), seed=i % 2)["predictions"], "probabilities")
        for i, rows in enumerate(asked)
    ]
    with tritonclient.InferenceServerClient(f"127.0.0.1:{port}", concurrency=8) as client:
        waiting = [
            client.async_infer(flowers.id, inputs({"input": rows}), parameters={"seed": i % 2})
            for i, rows in enumerate(asked)
        ]
        for one, probabilities in zip(waiting, expected, strict=True):
            np.testing.assert_allclose(one.get_result().as_numpy("probabilities"), probabilities, **CLOSE)


def test_it_is_told_why_not(triton: Any, flowers: Any) -> None:
    with pytest.raises(TritonError, match=r"\[422\] inputs.input: must hold numbers, \[rows, columns\]"):
        triton.infer(flowers.id, inputs({"input": FLOWERS[:, :3]}))
    with pytest.raises(TritonError, match=r"\[422\] inputs.petal: is no column of the model"):
        triton.infer(flowers.id, inputs({"petal": FLOWERS[:, 0]}))
    with pytest.raises(TritonError, match=r"\[422\] outputs.lable: is no output of the model; did you mean \"label\""):
        triton.infer(flowers.id, inputs({"input": FLOWERS}), outputs=outputs("lable"))
    with pytest.raises(TritonError, match=r"\[422\] parameters.mc_sample: is not a parameter.*mc_samples"):
        triton.infer(flowers.id, inputs({"input": FLOWERS}), parameters={"mc_sample": 3})
    with pytest.raises(TritonError, match=r"\[404\] There is no alias no@body"):
        triton.infer("no@body", inputs({"input": FLOWERS}))
    with pytest.raises(TritonError, match=r"\[404\] There is nothing with the id .resnet."):
        triton.infer("resnet", inputs({"input": FLOWERS}))
    with pytest.raises(TritonError, match=r"\[404\]"):
        triton.get_model_metadata("resnet")
    with pytest.raises(TritonError, match=r"\[404\] There is no resource /v2/repository/models"):
        triton.load_model(flowers.id)


def test_bytes_without_json_are_the_only_column(images: Any) -> None:
    pixels = (np.arange(2 * 64).reshape(2, 8, 8) % 17).astype(np.uint8)
    answer = images.api.client.post(
        f"/v2/models/{images.id}/infer",
        content=pixels.tobytes(),
        headers={"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"},
    )
    found = result(answer)
    expected = images.predict([{"image": image.tolist()} for image in pixels])["predictions"]
    np.testing.assert_allclose(found.as_numpy("probabilities"), column(expected, "probabilities"), **CLOSE)


def result(answer: httpx.Response) -> Any:
    """Read an answer with the client's own code."""
    assert answer.status_code == 200, answer.text
    length = answer.headers.get("Inference-Header-Content-Length")
    return tritonclient.InferResult.from_response_body(answer.content, header_length=length and int(length))
