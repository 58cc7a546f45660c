"""`/v1/weights`, and specifications that start from what is stored."""

import json
import pickle
import struct
import threading
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

Json = dict[str, Any]
TENSORS = {
    "conv1.weight": torch.arange(12.0).view(3, 4),
    "conv1.bias": torch.ones(3, dtype=torch.float16),
    "steps": torch.tensor(7),
}


def file_of(header: Any, data: bytes = b"") -> bytes:
    """A file with this header, which need not be a sound one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def post(api: Any, content: bytes, **query: str) -> Any:
    return api.client.post("/v1/weights", content=content, params=query)


def upload(api: Any, tensors: dict[str, torch.Tensor], **query: str) -> Json:
    answer = post(api, safetensors.torch.save(tensors), **query)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def test_weights_are_stored_listed_and_deleted(both: Any) -> None:
    content = safetensors.torch.save(TENSORS)
    answer = post(both, content, name="mine")
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/weights/{made['id']}")
    assert made["id"].startswith("wts_")
    assert (made["object"], made["name"], made["size"], made["parameters"]) == ("weights", "mine", len(content), 16)
    assert made["tensors"] == {
        "conv1.bias": {"dtype": "F16", "shape": [3]},
        "conv1.weight": {"dtype": "F32", "shape": [3, 4]},
        "steps": {"dtype": "I64", "shape": []},
    }
    assert both.client.get(f"/v1/weights/{made['id']}").json() == made
    second = upload(both, TENSORS)
    assert (second["sha256"], second["name"]) == (made["sha256"], "weights") and second["id"] != made["id"]
    page = both.client.get("/v1/weights?limit=1").json()
    assert [item["id"] for item in page["data"]] == [second["id"]] and page["has_more"]
    assert "tensors" not in page["data"][0]
    older = both.client.get(f"/v1/weights?limit=1&after={second['id']}").json()
    assert [item["id"] for item in older["data"]] == [made["id"]]
    for found in (made, second):
        assert both.client.delete(f"/v1/weights/{found['id']}").status_code == 204
        for method in ("GET", "DELETE"):
            assert both.client.request(method, f"/v1/weights/{found['id']}").status_code == 404


def test_weights_come_as_a_form_too_and_a_key_makes_a_retry_safe(api: Any) -> None:
    file = {"file": ("folder/encoder.safetensors", safetensors.torch.save(TENSORS))}
    first, again = (
        api.client.post("/v1/weights", files=file, headers={"Idempotency-Key": "weights-once"}) for _ in range(2)
    )
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json() and first.json()["name"] == "encoder.safetensors"


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
MANY = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10_001)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "length of its header"),
        (b"1234567", "length of its header"),
        (b"a,b\n1,2\n3,4\n", "length of its header"),
        (pickle.dumps({"w": np.zeros(3)}), "a pickle, which can run code"),
        (b"PK\x03\x04" + b"\x00" * 100, "a ZIP, as torch.save writes it"),
        (struct.pack("<Q", 9 * 1024 * 1024) + b" " * (10 * 1024 * 1024), "header of 9,437,184 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "length of its header"),
        (file_of(b"not json"), "no safetensors file"),
        (file_of(b"[]"), "no safetensors file"),
        (file_of({}), "0 tensors"),
        (file_of(MANY), "10,001 tensors"),
        (file_of({"w": ENTRY}), "no safetensors file"),
        (file_of({"w": ENTRY}, b"\x00" * 9), "no safetensors file"),
        (file_of({"w": {**ENTRY, "shape": [3]}}, b"\x00" * 8), "no safetensors file"),
        (file_of({"w": {**ENTRY, "shape": [2**62, 2**62]}}, b"\x00" * 8), "no safetensors file"),
        (file_of({"w": {**ENTRY, "data_offsets": [8, 0]}}, b"\x00" * 8), "no safetensors file"),
        (file_of({"w": {**ENTRY, "dtype": "C64", "shape": [1]}}, b"\x00" * 8), "of type C64"),
        (file_of({"w": {**ENTRY, "shape": [1] * 20 + [2]}}, b"\x00" * 8), "21 axes"),
        (file_of({"a\nb": ENTRY}, b"\x00" * 8), "whose name is no text"),
        (file_of({"w": ENTRY}, struct.pack("<ff", 1.0, float("nan"))), "'w' with values that are NaN or infinite"),
        (file_of({"w": {**ENTRY, "dtype": "BF16", "shape": [4]}}, b"\x80\x7f" * 4), "NaN or infinite"),
    ],
    ids=str,
)
def test_what_is_no_sound_safetensors_file_is_refused(api: Any, content: bytes, words: str) -> None:
    answer = post(api, content)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_weights"), answer.text
    assert answer.json()["errors"][0]["path"] == "file"
    assert words in answer.json()["errors"][0]["message"]


@pytest.fixture(scope="module")
def trained(sqlite_api: Any, wine_csv: bytes) -> tuple[str, Json]:
    """A data set of wines, and a model of them: dense_0, dropout_1, dense_2."""
    dataset = sqlite_api.upload(wine_csv)["id"]
    job = sqlite_api.submit(sqlite_api.spec(dataset))["id"]
    sqlite_api.work(only=job)
    done = sqlite_api.client.get(f"/v1/jobs/{job}").json()
    model: Json = sqlite_api.client.get(f"/v1/models/{done['model']}").json()
    return dataset, model


def onto(api: Any, dataset: str, *blocks: Json, head: bool = True, **more: Any) -> Json:
    """A specification of these blocks and a new head."""
    tail = [{"type": "dense", "units": "auto"}] if head else []
    layers = [{"type": "pretrained", **block} if "source" in block else block for block in blocks]
    spec: Json = api.spec(dataset, network={"layers": [*layers, *tail]}, **more)
    return spec


def test_a_model_is_started_from_and_the_specification_keeps_what_was_taken(api: Any, trained: Any) -> None:
    dataset, model = trained
    block = {"source": model["id"], "until": "dense_0", "trainable": False}
    job = api.submit(onto(api, dataset, block))
    kept = job["spec"]["network"]["layers"][0]
    assert kept["weights_sha256"] == model["weights_sha256"]
    assert [(layer["type"], layer["name"], layer["units"]) for layer in kept["layers"]] == [("dense", "dense_0", 8)]
    api.work(only=job["id"])
    done = api.client.get(f"/v1/jobs/{job['id']}").json()
    assert done["status"] == "succeeded", done["error"]
    before, after = (
        safetensors.torch.load(api.client.get(f"/v1/models/{mdl}/weights").content)
        for mdl in (model["id"], done["model"])
    )
    for name in ("layers.dense_0.kernel.weight", "layers.dense_0.kernel.bias"):
        assert torch.equal(after[f"layers.pretrained_0.{name}"], before[name])
    rows = {"rows": [[1.0] * 13], "mc_samples": 2}
    assert api.client.post(f"/v1/models/{done['model']}/predict", json=rows).status_code == 200


def test_what_was_kept_can_be_submitted_again_and_is_the_same_job(api: Any, trained: Any) -> None:
    dataset, model = trained
    spec = onto(api, dataset, {"source": model["id"], "until": "dropout_1", "trainable": False})
    first = api.submit(spec)
    second = api.submit(first["spec"])
    checked = api.client.post("/v1/networks/validate", json={"spec": spec}).json()
    assert first["spec_sha256"] == second["spec_sha256"] == checked["spec_sha256"]
    assert first["spec"] == second["spec"]
    assert [layer["parameters"] for layer in checked["layers"]] == [13 * 8 + 8, 8 * 3 + 3]
    assert [layer["trainable_parameters"] for layer in checked["layers"]] == [0, 8 * 3 + 3]
    assert checked["trainable_parameters"] == 8 * 3 + 3
    open_ = onto(api, dataset, {"source": model["id"], "until": "dropout_1"})
    learning = api.client.post("/v1/networks/validate", json=open_).json()
    assert learning["memory"]["training_bytes"] - checked["memory"]["training_bytes"] > 3 * 4 * (13 * 8 + 8)


def test_a_network_is_looked_at_without_data_too(api: Any, trained: Any) -> None:
    _, model = trained
    spec = {"network": {"layers": [{"type": "pretrained", "source": model["id"]}]}, "loss": "cross_entropy"}
    body = {"spec": spec, "input_shape": [13], "outputs": 3}
    answer = api.client.post("/v1/networks/validate", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["parameters"] == model["parameters"]
    assert answer.json()["stochastic_layers"] == ["pretrained_0"]
    answer = api.client.post("/v1/networks/validate", json={**body, "input_shape": [12]})
    assert [error["path"] for error in answer.json()["errors"]] == ["network.layers[0].source"]


def test_a_job_goes_on_after_its_source_was_deleted(own: Any, wine_csv: bytes) -> None:
    dataset = own.upload(wine_csv)["id"]
    source = own.submit(own.spec(dataset))["id"]
    own.work()
    model = own.client.get(f"/v1/jobs/{source}").json()["model"]
    job = own.submit(onto(own, dataset, {"source": model, "until": "dense_0", "trainable": False}))["id"]
    assert own.client.delete(f"/v1/models/{model}").status_code == 204
    own.work()
    done = own.client.get(f"/v1/jobs/{job}").json()
    assert done["status"] == "succeeded", done["error"]
    longer = own.client.post(f"/v1/jobs/{job}/extend", json={"epochs": 2})
    assert longer.status_code == 202, longer.text
    own.work()
    longer = own.client.get(f"/v1/jobs/{longer.json()['id']}").json()
    assert longer["status"] == "succeeded", longer["error"]
    refused = own.client.post("/v1/jobs", json=done["spec"])
    assert [error["path"] for error in refused.json()["errors"]] == ["network.layers[0].source"]


NOBODY = "0" * 26
DENSE = {"type": "dense", "name": "conv1", "units": 3}
FIT = {"conv1.weight": torch.zeros(3, 13), "conv1.bias": torch.zeros(3)}
OTHER = {"enc.0.weight": torch.zeros(3, 13), "enc.0.bias": torch.zeros(3)}


def refused(api: Any, spec: Json) -> dict[str, Json]:
    """The problems of a specification, by their paths."""
    answer = api.client.post("/v1/jobs", json=spec)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec"), answer.text
    return {error["path"]: error for error in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("block", "path", "words"),
    [
        ({"source": f"mdl_{NOBODY}"}, ".source", "there is no model with this id"),
        ({"source": f"wts_{NOBODY}", "layers": [DENSE]}, ".source", "there are no weights with this id"),
        ({"source": "ds_" + NOBODY}, ".source", 'must be an id of a model or of imported weights: "mdl_" or "wts_"'),
        ({"source": 3}, ".source", "must be an id"),
        ({"source": "MODEL", "until": "dens_0"}, ".until", 'is no layer of this model; did you mean "dense_0"?'),
        ({"source": "MODEL", "after": "nothing"}, ".after", "is no layer of this model"),
        ({"source": "MODEL", "after": "dense_2"}, ".after", "leaves no layer to take"),
        ({"source": "MODEL", "after": "dense_2", "until": "dense_0"}, ".until", "does not stand behind 'dense_2'"),
        ({"source": "MODEL", "rename": {"a": "b"}}, ".rename", "is for imported weights"),
        ({"source": "MODEL", "layers": [DENSE]}, ".layers", "is for imported weights: a model knows its layers"),
        ({"source": "MODEL", "weights_sha256": "0" * 64}, ".weights_sha256", "the source has other weights"),
        ({"source": "FIT"}, ".layers", "is required: imported weights do not say"),
        ({"source": "FIT", "layers": [DENSE], "until": "conv1"}, ".until", "is for a model"),
        ({"source": "FIT", "layers": [{**DENSE, "units": 4}]}, ".layers[0]", "'conv1.weight' has the shape [3, 13]"),
        ({"source": "FIT", "layers": [DENSE, DENSE | {"name": "b"}]}, ".layers[1]", "no tensor for 'b.kernel.weight'"),
        ({"source": "WHOLE", "layers": [DENSE]}, ".layers[0]", "'conv1.weight' is of type I64"),
        ({"source": "OTHER", "layers": [DENSE]}, ".layers[0]", "no tensor for 'conv1.kernel.weight', of shape [3, 13]"),
        (
            {"source": "OTHER", "layers": [DENSE], "rename": {"enc.0": "conv1", "enc.9": "conv1"}},
            '.rename["enc.9"]',
            "is the beginning of no tensor",
        ),
        (
            {"source": "OTHER", "layers": [DENSE], "rename": {"enc.0": "conv2"}},
            '.rename["enc.0"]',
            "is the name of no layer with weights here",
        ),
        (
            {"source": "OTHER", "layers": [DENSE], "rename": {"enc.0.weight": "conv1.b", "enc.0.bias": "conv1.b"}},
            '.rename["enc.0.weight"]',
            "gives 'conv1.b' two tensors",
        ),
        ({"source": "MODEL", "unfreeze_at_epoch": 2}, "", "trainable must be false"),
        ({"source": "MODEL", "trainable": False, "unfreeze_at_epoch": 1}, ".unfreeze_at_epoch", "at least 2"),
        ({"source": "MODEL", "trainable": False, "unfreeze_at_epoch": 3}, ".unfreeze_at_epoch", "training.epochs is 2"),
        ({"source": "MODEL", "learning_rate_factor": 0}, ".learning_rate_factor", "above 0"),
        ({"source": "MODEL", "learning_rate_factor": 1e6}, ".learning_rate_factor", "at most 1000"),
    ],
    ids=str,
)
def test_sources_that_do_not_fit_are_refused_by_name(
    api: Any, trained: Any, block: Json, path: str, words: str
) -> None:
    dataset, model = trained
    files = {"FIT": FIT, "OTHER": OTHER, "WHOLE": {name: tensor.long() for name, tensor in FIT.items()}}
    source = block["source"]
    source = model["id"] if source == "MODEL" else upload(api, files[source])["id"] if source in files else source
    answer = api.client.post("/v1/jobs", json=onto(api, dataset, {**block, "source": source}))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec"), answer.text
    found = [error["message"] for error in answer.json()["errors"] if error["path"] == f"network.layers[0]{path}"]
    assert any(words in message for message in found), answer.text


def test_unknown_layers_are_answered_with_those_that_are_there(api: Any, trained: Any) -> None:
    dataset, model = trained
    found = refused(api, onto(api, dataset, {"source": model["id"], "until": "conv"}))
    assert found["network.layers[0].until"]["allowed"] == ["dense_0", "dropout_1", "dense_2"]


def test_other_mistakes_are_in_the_same_answer(api: Any, trained: Any) -> None:
    dataset, _ = trained
    spec = onto(api, dataset, {"source": f"mdl_{NOBODY}"}, metrics=["rmse"])
    spec["data"]["target"] = "colour"
    assert {"network.layers[0].source", "metrics[0]", "data.target"} <= refused(api, spec).keys()


def test_a_network_in_which_nothing_learns_is_refused(api: Any, trained: Any) -> None:
    dataset, model = trained
    block = {"source": model["id"], "trainable": False}
    for spec in (
        onto(api, dataset, block, head=False),
        onto(api, dataset, block, {"type": "dense", "units": "auto", "trainable": False}, head=False),
        onto(api, dataset, {**block, "unfreeze_at_epoch": 2}, head=False),
    ):
        found = refused(api, spec)
        assert "nothing learns" in found["network.layers"]["message"]


def test_blocks_stand_in_the_network_itself_and_are_not_too_many(api: Any, trained: Any) -> None:
    dataset, model = trained
    inner = {"type": "pretrained", "source": model["id"], "until": "dense_0"}
    found = refused(api, onto(api, dataset, {"type": "sequential", "layers": [inner]}))
    assert "cannot stand inside of another layer" in found["network.layers[0].layers[0]"]["message"]
    dropouts = [{"source": model["id"], "after": "dense_0", "until": "dropout_1"}] * 17
    assert "at most 16" in refused(api, onto(api, dataset, *dropouts))["network.layers"]["message"]


def test_two_blocks_of_one_model_share_it_out_but_no_name(api: Any, trained: Any) -> None:
    dataset, model = trained
    first = {"source": model["id"], "until": "dense_0", "trainable": False}
    second = {"source": model["id"], "after": "dense_0", "learning_rate_factor": 0.1}
    job = api.submit(onto(api, dataset, first, second, head=False))
    assert [layer["name"] for layer in job["spec"]["network"]["layers"][1]["layers"]] == ["dropout_1", "dense_2"]
    found = refused(api, onto(api, dataset, {**first, "name": "a"}, {**second, "name": "a"}, head=False))
    assert "is the name of another layer, too" in found["network.layers[1].name"]["message"]


def test_a_frozen_layer_is_not_pretrained_by_a_machine(api: Any, trained: Any) -> None:
    dataset, _ = trained
    hidden = {"type": "dense", "units": 4, "activation": "sigmoid", "trainable": False}
    assert "network.layers[0].trainable" in refused(api, onto(api, dataset, hidden, pretrain="rbm"))


def test_weights_that_arrive_twice_at_once_are_both_stored(api: Any) -> None:
    content, answers = safetensors.torch.save({"w": torch.rand(500_000)}), []
    threads = [threading.Thread(target=lambda: answers.append(post(api, content))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 4
