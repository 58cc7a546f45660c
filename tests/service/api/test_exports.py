"""Models out and in again over HTTP, and their cards."""

import hashlib
import io
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch

ROW = [13.2, 1.8, 2.4, 16, 101, 2.6, 2.8, 0.3, 1.8, 5, 1.1, 3.2, 1050]
BYTES = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def trained(request: pytest.FixtureRequest, wine_csv: bytes) -> tuple[Any, dict[str, Any]]:
    """A server and a model of the wines, once on each database."""
    api = request.getfixturevalue(f"{request.param}_api")
    split = {"validation": 0.2, "test": 0.2}
    dataset = api.upload(wine_csv)["id"]
    data = {"dataset": dataset, "target": "target", "preprocessing": "standardize", "split": split}
    job = api.submit(api.spec(dataset, training={"epochs": 20}, data=data))["id"]
    api.work(only=job)
    done = api.client.get(f"/v1/jobs/{job}").json()
    assert done["status"] == "succeeded", done["error"]
    return api, api.client.get(f"/v1/models/{done['model']}").json()


def predicted(api: Any, model: str, **options: Any) -> Any:
    answer = api.client.post(f"/v1/models/{model}/predict", json={"rows": [ROW, ROW[::-1]], "seed": 7, **options})
    assert answer.status_code == 200, answer.text
    return answer.json()


def the_file(api: Any, model: str) -> bytes:
    answer = api.client.get(f"/v1/models/{model}/export")
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == int(answer.headers["content-length"])
    assert answer.headers["content-disposition"] == f'attachment; filename="{model}.safetensors"'
    return bytes(answer.content)


def imported(api: Any, data: bytes, **query: str) -> Any:
    answer = api.client.post("/v1/models", content=data, headers=BYTES, params=query)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/models/{answer.json()['id']}"
    return answer.json()


def test_an_imported_model_is_the_one_that_was_exported(trained: Any) -> None:
    api, model = trained
    data = the_file(api, model["id"])
    found = imported(api, data)
    assert found["id"] != model["id"] and found["job"] is None
    for name in (
        "weights_sha256",
        "spec",
        "task",
        "classes",
        "columns",
        "metrics",
        "calibration",
        "parameters",
        "size",
    ):
        assert found[name] == model[name], name
    assert found["receipt"].pop("imported") == {
        "model": model["id"], "job": model["job"], "file_sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    assert found["receipt"] == model["receipt"]
    for options in ({}, {"mc_samples": 0}, {"coverage": 0.9, "return_samples": True}):
        assert predicted(api, found["id"], **options) == predicted(api, model["id"], **options)
    assert the_file(api, found["id"])[-100:] == data[-100:]


def test_a_model_without_a_job_is_listed_described_and_deleted(trained: Any) -> None:
    api, model = trained
    found = imported(api, the_file(api, model["id"]), name="from elsewhere")["id"]
    listed = {item["id"]: item for item in api.client.get("/v1/models?limit=1000").json()["data"]}
    assert listed[found]["job"] is None and listed[found]["name"] == "from elsewhere"
    assert api.client.get(f"/v2/models/{found}/config").json()["parameters"].keys() == {"weights_sha256", "max_rows"}
    assert api.client.put(f"/v1/models/{found}/aliases/production").json()["name"] == "from elsewhere@production"
    assert api.client.get("/v1/models/from elsewhere@production/export").status_code == 200
    evaluated = {"rows": [[*ROW, "class_0"]], "mc_samples": 5}
    assert api.client.post(f"/v1/models/{found}/evaluate", json=evaluated).status_code == 200
    assert api.client.delete(f"/v1/models/{found}").status_code == 409
    assert api.client.delete(f"/v1/models/{found}/aliases/production").status_code == 204
    assert api.client.delete(f"/v1/models/{found}").status_code == 204
    assert api.client.get(f"/v1/models/{found}").status_code == 404
    assert api.client.get(f"/v1/models/{model['id']}").json()["job"] == model["job"]
    assert predicted(api, model["id"])["predictions"]


def test_an_imported_model_can_be_trained_on(trained: Any) -> None:
    api, model = trained
    found = imported(api, the_file(api, model["id"]))["id"]
    block = {"type": "pretrained", "source": found, "until": "dense_0", "trainable": False}
    data = model["spec"]["data"]
    job = api.submit({**api.spec(data["dataset"]), "network": {"layers": [block, {"type": "dense", "units": "auto"}]}})
    assert api.client.delete(f"/v1/models/{found}").status_code == 204
    api.work(only=job["id"])
    done = api.client.get(f"/v1/jobs/{job['id']}").json()
    assert done["status"] == "succeeded", done["error"]
    weights = [
        safetensors.torch.load(api.client.get(f"/v1/models/{one}/weights").content)
        for one in (model["id"], done["model"])
    ]
    name = "layers.dense_0.kernel.weight"
    assert torch.equal(weights[0][name], weights[1][f"layers.pretrained_0.{name}"])
    again = imported(api, the_file(api, done["model"]))["id"]
    assert predicted(api, again) == predicted(api, done["model"])


def test_a_repeated_import_with_its_key_makes_one_model(trained: Any) -> None:
    api, model = trained
    data, headers = the_file(api, model["id"]), {**BYTES, "Idempotency-Key": f"import-{model['id']}"}
    first, second = (api.client.post("/v1/models", content=data, headers=headers) for _ in range(2))
    assert first.content == second.content and second.headers["idempotency-replayed"] == "true"
    other = api.client.post("/v1/models", content=data[:-1], headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_a_form_is_read_as_well(trained: Any) -> None:
    api, model = trained
    answer = api.client.post("/v1/models", files={"file": ("m.safetensors", the_file(api, model["id"]))})
    assert answer.status_code == 201, answer.text


def test_files_that_are_no_models_are_refused(trained: Any) -> None:
    api, model = trained
    data = the_file(api, model["id"])
    changed = bytearray(data)
    changed[-1] ^= 1
    weights = api.client.get(f"/v1/models/{model['id']}/weights").content
    for content, path in (
        (b"", "file"), (b"\x80\x04", "file"), (data[:1000], "file"), (weights, "metadata.trainyard"),
        (bytes(changed), "metadata.trainyard.weights_sha256"),
    ):  # fmt: skip
        answer = api.client.post("/v1/models", content=content, headers=BYTES)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_model"), answer.text
        assert answer.json()["errors"][0]["path"] == path


def test_a_file_that_is_too_large_is_not_read_to_its_end(serving: Any, settings: Any, trained: Any) -> None:
    api, model = trained
    data = the_file(api, model["id"])
    with serving(settings.model_copy(update={"max_upload_bytes": len(data) - 1})) as own:
        answer = own.client.post("/v1/models", content=data, headers=BYTES)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        answer = own.client.post("/v1/models", content=iter([data]), headers=BYTES)
        assert answer.status_code == 413


def test_onnx_and_torch_files_answer_as_the_service_does(trained: Any) -> None:
    api, model = trained
    truth = [list(p["probabilities"].values()) for p in predicted(api, model["id"], mc_samples=0)["predictions"]]
    rows = np.array([ROW, ROW[::-1]], np.float64)
    found = api.client.get(f"/v1/models/{model['id']}/export?format=onnx")
    assert found.status_code == 200, found.text
    assert found.headers["content-disposition"].endswith('.onnx"')
    checked = dict(part.split("=") for part in found.headers["x-trainyard-checked"].split("; "))
    assert checked["rows"] == "32" and float(checked["largest-difference"]) <= 1e-5
    session = onnxruntime.InferenceSession(found.content)
    columns = {column["name"]: rows[:, i] for i, column in enumerate(model["columns"])}
    assert session.run(None, columns)[0] == pytest.approx(np.array(truth), abs=1e-6)
    found = api.client.get(f"/v1/models/{model['id']}/export?format=torch")
    assert found.status_code == 200, found.text
    program = torch.export.load(io.BytesIO(found.content)).module()
    assert program(torch.from_numpy(rows))[0].numpy() == pytest.approx(np.array(truth), abs=1e-6)


def test_what_cannot_be_exported_is_refused(trained: Any, wine_csv: bytes) -> None:
    api, model = trained
    path = f"/v1/models/{model['id']}/export"
    for query, where in (
        ({"format": "pickle"}, "format"),
        ({"dropout": "on"}, "dropout"),
        ({"dropout": "yes"}, "dropout"),
        ({"f": "onnx"}, "f"),
    ):
        answer = api.client.get(path, params=query)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
        assert answer.json()["errors"][0]["path"] == where
    assert api.client.get(f"/v1/models/mdl_{'0' * 26}/export?format=onnx").status_code == 404
    layers = [{"type": "dense", "units": "auto"}]
    job = api.submit(api.spec(model["spec"]["data"]["dataset"], network={"layers": layers}))["id"]
    api.work(only=job)
    plain = api.client.get(f"/v1/jobs/{job}").json()["model"]
    answer = api.client.get(f"/v1/models/{plain}/export?format=onnx&dropout=on")
    assert (answer.status_code, answer.json()["code"]) == (422, "not_exportable")
    assert answer.json()["errors"][0]["path"] == "dropout"
    limits = {limit["code"] for limit in api.client.get(f"/v1/models/{plain}/card").json()["limits"]}
    assert {"no_spread", "no_test_rows"} <= limits


def test_a_card_says_what_the_model_is(trained: Any) -> None:
    api, model = trained
    card = api.client.get(f"/v1/models/{model['id']}/card").json()
    assert (card["model"], card["job"], card["classes"]) == (model["id"], model["job"], model["classes"])
    assert [layer["type"] for layer in card["network"]["layers"]] == ["dense", "dropout", "dense"]
    assert card["network"]["stochastic_layers"] == ["dropout_1"]
    assert card["data"]["sha256"] == model["receipt"]["data_sha256"]
    assert card["data"]["rows"] == {"train": 106, "validation": 36, "test": 36}
    assert [column["role"] for column in card["data"]["columns"]] == ["feature"] * 13 + ["target"]
    assert set(card["metrics"]) == {"train", "validation", "test"}
    assert card["calibration"]["after"] and card["calibration"]["before"]
    limits = {limit["code"]: limit["message"] for limit in card["limits"]}
    assert set(limits) == {"input_ranges", "missing_values", "known_classes", "small_test"}
    assert "class_0, class_1, class_2" in limits["known_classes"] and "alcohol 11.03 to 14.83" in limits["input_ranges"]
    assert card["versions"]["torch"] and card["receipt"] == model["receipt"]


def test_a_card_is_a_page_for_those_who_ask_for_one(trained: Any) -> None:
    api, model = trained
    path = f"/v1/models/{model['id']}/card"
    page = api.client.get(path, params={"format": "markdown"})
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert api.client.get(path, headers={"Accept": "text/markdown"}).content == page.content
    for accept in ("application/json", "text/markdown, application/json", "*/*"):
        assert api.client.get(path, headers={"Accept": accept}).json()["object"] == "model_card"
    assert api.client.get(path, params={"format": "json"}, headers={"Accept": "text/markdown"}).json()["model"]
    headings = [line.lstrip("# ") for line in page.text.splitlines() if line.startswith("#")]
    assert headings == [
        "small", "What it must not be used for", "Network", "Data", "Metrics", "Calibration", "Receipt",
    ]  # fmt: skip
    assert model["weights_sha256"] in page.text and model["receipt"]["spec_sha256"] in page.text


def test_a_card_of_an_imported_model_says_so(trained: Any) -> None:
    api, model = trained
    card = api.client.get(f"/v1/models/{imported(api, the_file(api, model['id']))['id']}/card").json()
    assert card["job"] is None and "trained_elsewhere" in {limit["code"] for limit in card["limits"]}


def test_a_file_tells_everything_in_its_metadata(trained: Any, tmp_path: Any) -> None:
    api, model = trained
    path = tmp_path / "m.safetensors"
    path.write_bytes(the_file(api, model["id"]))
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["trainyard"])
    assert about["spec"] == model["spec"] and about["receipt"] == model["receipt"]
    assert about["calibration"]["temperature"] and about["versions"]["trainyard"]
