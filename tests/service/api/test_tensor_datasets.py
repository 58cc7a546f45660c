"""Images and sequences all the way: uploaded, described, trained on, predicted."""

import gzip
import io
import zipfile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

RANDOM = np.random.default_rng(0)


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pets() -> dict[str, bytes]:
    """Dark cats and bright dogs."""
    pictures = {}
    for i in range(24):
        pixels = RANDOM.integers(0, 80, (6, 6)).astype(np.uint8) + np.uint8(150 * (i % 2))
        pictures[f"{('cat', 'dog')[i % 2]}/{i}.png"] = png(pixels)
    return pictures


def spec_of(api: Any, dataset: str, layers: list[Any], **data: Any) -> Any:
    body = api.spec(dataset, network={"layers": [*layers, {"type": "dense", "units": "auto"}]})
    body["data"] = {"dataset": dataset, "target": "label", **data}
    body["training"] = {"epochs": 3, "seed": 1, "batch_size": 8}
    return body


def trained(api: Any, body: Any) -> tuple[Any, Any]:
    """The job and the model that come of a specification."""
    job = api.submit(body)
    api.work(job["id"])
    job = api.client.get(f"/v1/jobs/{job['id']}").json()
    assert job["status"] == "succeeded", job["error"]
    return job, api.client.get(f"/v1/models/{job['model']}").json()


def predicted(api: Any, model: Any, rows: list[Any]) -> list[Any]:
    answer = api.client.post(f"/v1/models/{model['id']}/predict", json={"rows": rows, "mc_samples": 0})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["predictions"]
    return found


CONVOLUTION: list[Any] = [{"type": "conv2d", "filters": 2, "kernel_size": 3}, "flatten"]


def test_images_by_class_folder(both: Any) -> None:
    dataset = both.upload(zipped(pets()), "application/zip", name="pets")
    image, label = dataset["columns"]
    assert (dataset["format"], dataset["rows"]) == ("images", 24)
    assert (image["name"], image["type"], image["shape"], image["dtype"]) == ("image", "tensor", [6, 6, 1], "uint8")
    assert (label["type"], label["distinct"]) == ("category", 2)
    preview = both.client.get(f"/v1/datasets/{dataset['id']}/preview?rows=2").json()
    assert np.array(preview["rows"][1][0]).shape == (6, 6, 1) and preview["rows"][1][1] == "dog"
    _, model = trained(both, spec_of(both, dataset["id"], CONVOLUTION, preprocessing="min_max"))
    assert model["classes"] == ["cat", "dog"]
    (one,) = predicted(both, model, [preview["rows"][0][0]])
    (same,) = predicted(both, model, [{"image": preview["rows"][0][0]}])
    assert one["probabilities"] == same["probabilities"] and set(one["probabilities"]) == {"cat", "dog"}


def test_images_of_different_sizes(api: Any) -> None:
    data = zipped(pets() | {"cat/x.png": png(np.zeros((8, 5), np.uint8))})
    answer = api.client.post("/v1/datasets", content=data, headers={"Content-Type": "application/zip"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_dataset")
    assert "'cat/x.png' has 8 x 5 pixels" in answer.json()["detail"]
    assert "?image_size=6x6" in answer.json()["detail"]
    dataset = api.upload(data, "application/zip", image_size="4x7", channels="3")
    assert dataset["columns"][0]["shape"] == [4, 7, 3]
    preview = api.client.get(f"/v1/datasets/{dataset['id']}/preview?rows=1").json()
    assert np.array(preview["rows"][0][0]).shape == (4, 7, 3)


def test_the_same_file_in_another_size_is_not_the_same_run(api: Any) -> None:
    data = zipped(pets())
    sets = [api.upload(data, "application/zip", **query) for query in ({}, {"image_size": "6x6"}, {"channels": "3"})]
    body = [spec_of(api, dataset["id"], ["flatten"]) for dataset in sets]
    jobs = [api.submit(each) for each in body]
    assert jobs[0]["data_sha256"] == jobs[1]["data_sha256"] != jobs[2]["data_sha256"]
    assert len({dataset["sha256"] for dataset in sets}) == 1


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"image_size": "4"}, "image_size"),
        ({"image_size": "0x4"}, "image_size"),
        ({"image_size": "4x99999"}, "image_size"),
        ({"channels": "2"}, "channels"),
        ({"channels": "4"}, "channels"),
    ],
)
def test_sizes_that_are_none(api: Any, query: dict[str, str], path: str) -> None:
    answer = api.client.post(
        "/v1/datasets", content=zipped(pets()), params=query, headers={"Content-Type": "application/zip"}
    )
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path)


@pytest.mark.parametrize("query", [{"image_size": "4x4"}, {"channels": "1"}])
def test_sizes_are_for_images(api: Any, iris_csv: bytes, query: dict[str, str]) -> None:
    answer = api.client.post("/v1/datasets", content=iris_csv, params=query, headers={"Content-Type": "text/csv"})
    (problem,) = answer.json()["errors"]
    assert problem["path"] in query and "read as csv" in problem["message"]


def idx(array: NDArray[np.uint8]) -> bytes:
    shape = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def test_idx_files_with_their_own_test_set(api: Any) -> None:
    labels = (np.arange(40) % 2).astype(np.uint8)
    images = RANDOM.integers(0, 80, (40, 5, 5)).astype(np.uint8) + 150 * labels[:, None, None]
    members = {
        "train-images-idx3-ubyte.gz": gzip.compress(idx(images[:30])),
        "train-labels-idx1-ubyte.gz": gzip.compress(idx(labels[:30])),
        "t10k-images-idx3-ubyte.gz": gzip.compress(idx(images[30:])),
        "t10k-labels-idx1-ubyte.gz": gzip.compress(idx(labels[30:])),
    }
    dataset = api.upload(zipped(members), "application/zip")
    assert [column["name"] for column in dataset["columns"]] == ["image", "label", "split"]
    split = {"column": "split", "validation": 0.2}
    job, model = trained(api, spec_of(api, dataset["id"], CONVOLUTION, split=split, preprocessing="min_max"))
    assert [column["name"] for column in model["columns"]] == ["image"]
    measured = api.client.get(f"/v1/jobs/{job['id']}/metrics?split=test").json()["data"]
    assert {metric["name"] for metric in measured} >= {"loss", "accuracy"}
    (one,) = predicted(api, model, [images[0].tolist()])
    assert one["label"] in (0, 1)


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


SERIES = RANDOM.normal(size=(30, 7, 3))
SIDES = (SERIES.mean((1, 2)) > 0).astype(int)


@pytest.mark.parametrize("format", ["npz", "json", "ndjson"])
def test_sequences(api: Any, format: str) -> None:
    rows = [{"x": x.tolist(), "label": int(y)} for x, y in zip(SERIES, SIDES, strict=True)]
    if format == "npz":
        dataset = api.upload(npz(x=SERIES, label=SIDES), "application/x-npz")
    elif format == "json":
        dataset = api.client.post("/v1/datasets", json=rows).json()
    else:
        dataset = api.upload("\n".join(map(str, rows)).replace("'", '"').encode(), "application/x-ndjson")
    assert dataset["columns"][0]["shape"] == [7, 3]
    layers = [{"type": "lstm", "units": 4}]
    body = spec_of(
        api, dataset["id"], layers, image_layout="none", split={"shuffle": False}, preprocessing="standardize"
    )
    _, model = trained(api, body)
    by_name, alone = predicted(api, model, [{"x": SERIES[0].tolist()}]), predicted(api, model, [SERIES[0].tolist()])
    assert by_name == alone
    short = api.client.post(f"/v1/models/{model['id']}/predict", json={"rows": [{"x": SERIES[0][:5].tolist()}]})
    (problem,) = short.json()["errors"]
    assert (problem["path"], problem["allowed"]) == ("rows[0].x", "an array of finite numbers of shape [7, 3]")


def test_a_sequence_taken_for_an_image_is_told_how_to_stay_one(api: Any) -> None:
    dataset = api.upload(npz(x=SERIES, label=SIDES), "application/x-npz")
    answer = api.client.post("/v1/jobs", json=spec_of(api, dataset["id"], [{"type": "lstm", "units": 4}]))
    (problem,) = answer.json()["errors"]
    assert problem["path"] == "network.layers[0]"
    assert "sequences [7, 3] of [length, features]" in problem["message"]
    assert '"image_layout": "none"' in problem["message"]


def test_groups_and_weights(api: Any) -> None:
    lines = [f"{i % 5},{'abcdefgh'[i % 8]},{1 + i % 2},{'xy'[i % 2]}" for i in range(48)]
    dataset = api.upload("\n".join(["size,who,weight,label", *lines]).encode())
    body = spec_of(api, dataset["id"], [], split={"group": "who", "validation": 0.25}, sample_weight="weight")
    _, model = trained(api, body)
    assert [column["name"] for column in model["columns"]] == ["size"]
    body["data"] |= {"split": {"group": "whom"}, "features": ["size"]}
    (problem,) = api.client.post("/v1/jobs", json=body).json()["errors"]
    assert problem["path"] == "data.split.group" and "did you mean 'who'?" in problem["message"]
    body["data"]["split"] = {"group": "who", "column": "who"}
    (problem,) = api.client.post("/v1/jobs", json=body).json()["errors"]
    assert problem["path"] == "data.split" and "exclude each other" in problem["message"]
