import hashlib
import io
import re
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.store.blobs import blob_bytes
from service.store.engine import open_store

CSV = b"size,colour,price\n1,red,1.5\n2,,2.5\n3,blue,\n"
TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


def test_an_upload_is_answered_with_what_is_in_the_file(both: Any) -> None:
    answer = both.client.post("/v1/datasets?name=things", content=CSV, headers={"Content-Type": "text/csv"})
    dataset = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert re.fullmatch("ds_[0-9a-z]{26}", dataset["id"])
    assert (dataset["object"], dataset["name"], dataset["format"]) == ("dataset", "things", "csv")
    assert (dataset["rows"], dataset["size"]) == (3, len(CSV))
    assert dataset["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert re.fullmatch(TIME, dataset["created_at"])
    size, colour, price = dataset["columns"]
    assert (size["name"], size["type"], size["missing"], size["mean"]) == ("size", "integer", 0, 2.0)
    assert (colour["type"], colour["missing"]) == ("category", 1)
    assert {"value": "red", "count": 1} in colour["categories"]
    assert (price["type"], price["missing"], price["max"]) == ("number", 1, 2.5)


def test_what_was_uploaded_can_be_read_again(both: Any) -> None:
    dataset = both.upload(CSV, name="again")
    assert both.client.get(f"/v1/datasets/{dataset['id']}").json() == dataset
    store = open_store(both.settings.effective_database_url)
    assert blob_bytes(store, dataset["sha256"]) == CSV
    store.dispose()


def test_the_same_bytes_twice_are_two_data_sets_that_share_a_blob(both: Any) -> None:
    one, two = both.upload(CSV), both.upload(CSV)
    assert one["id"] != two["id"]
    assert one["sha256"] == two["sha256"]
    assert both.client.delete(f"/v1/datasets/{one['id']}").status_code == 204
    assert both.client.get(f"/v1/datasets/{one['id']}").status_code == 404
    assert both.client.get(f"/v1/datasets/{two['id']}/preview").json()["rows"][0] == [1, "red", 1.5]


@pytest.mark.parametrize(
    ("data", "content_type", "format"),
    [
        (CSV, "text/csv; charset=utf-8", "csv"),
        (CSV, "application/octet-stream", "csv"),
        (b'[{"a": 1}, {"a": 2}]', "application/json", "json"),
        (b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson", "json"),
        (b'[{"a": 1}, {"a": 2}]', "", "json"),
        (npz(x=np.zeros((2, 3)), y=np.arange(2)), "application/x-npz", "npz"),
        (npz(x=np.zeros((2, 3))), "application/zip", "npz"),
        (parquet(a=[1, 2], b=["x", None]), "application/vnd.apache.parquet", "parquet"),
        (parquet(a=[1, 2]), "application/octet-stream", "parquet"),
    ],
)
def test_formats_are_told_by_content_type_or_content(api: Any, data: bytes, content_type: str, format: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = api.client.post("/v1/datasets", content=data, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["format"] == format
    assert answer.json()["name"] == "dataset"


@pytest.mark.parametrize("filename", ["things.csv", "C:\\data\\things.csv", "/tmp/things.csv", "dir/things.csv"])
def test_a_form_names_the_data_set_after_its_file(api: Any, filename: str) -> None:
    answer = api.client.post("/v1/datasets", files={"file": (filename, CSV, "text/csv")})
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "things.csv"
    assert answer.json()["rows"] == 3


def test_the_query_names_it_before_the_file_does(api: Any) -> None:
    files = {"file": ("ünï.csv", CSV, "application/octet-stream")}
    assert api.client.post("/v1/datasets?name=mine", files=files).json()["name"] == "mine"
    assert api.client.post("/v1/datasets", files=files).json()["name"] == "ünï.csv"


@pytest.mark.parametrize(
    ("data", "content_type", "status", "code"),
    [
        (b"", "text/csv", 422, "invalid_dataset"),
        (b"a,b\n", "text/csv", 422, "invalid_dataset"),
        (b"a,a\n1,2\n", "text/csv", 422, "invalid_dataset"),
        (b"a,b\n1,2,3\n", "text/csv", 422, "invalid_dataset"),
        (b"a\n\xff\xfe\n", "text/csv", 422, "invalid_dataset"),
        (b"a\x00b\n1\n", "text/csv", 422, "invalid_dataset"),
        (b"[1, 2]", "application/json", 422, "invalid_dataset"),
        (b"PK\x03\x04rubbish", "application/x-npz", 422, "invalid_dataset"),
        (b"PAR1rubbish", "application/vnd.apache.parquet", 422, "invalid_dataset"),
        (npz(x=np.array([object()])), "application/x-npz", 422, "invalid_dataset"),
        (CSV, "image/png", 415, "unsupported_media_type"),
        (b"\x89PNG\x00\x00", "application/octet-stream", 415, "unsupported_media_type"),
        (b"", "", 415, "unsupported_media_type"),
        (CSV, "multipart/form-data", 400, "malformed_request"),
        (CSV, "multipart/form-data; boundary=x", 400, "malformed_request"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    api: Any, data: bytes, content_type: str, status: int, code: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = api.client.post("/v1/datasets", content=data, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_a_compressed_body_is_refused(api: Any) -> None:
    headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    answer = api.client.post("/v1/datasets", content=b"\x1f\x8b", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_nothing_is_left_in_the_folder_of_uploads(api: Any) -> None:
    api.upload(CSV)
    api.client.post("/v1/datasets", content=b"", headers={"Content-Type": "text/csv"})
    assert list((api.settings.home / "uploads").iterdir()) == []


def test_a_preview_has_values_in_their_json_types(api: Any) -> None:
    rows = [{"n": 1, "x": 1.5, "b": True, "c": "one"}, {"n": None, "x": None, "b": None, "c": None}]
    dataset = api.client.post("/v1/datasets", json=rows).json()
    preview = api.client.get(f"/v1/datasets/{dataset['id']}/preview?rows=5").json()
    assert preview["columns"] == ["n", "x", "b", "c"]
    assert preview["rows"] == [[1, 1.5, True, "one"], [None, None, None, None]]
    assert preview["total_rows"] == 2
    assert isinstance(preview["rows"][0][0], int)
    assert len(api.client.get(f"/v1/datasets/{dataset['id']}/preview?rows=1").json()["rows"]) == 1


def test_a_preview_of_tensors_is_nested_and_has_no_nan(api: Any) -> None:
    image = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    image[0, 0, 0] = np.nan
    dataset = api.upload(npz(image=image), "application/x-npz")
    preview = api.client.get(f"/v1/datasets/{dataset['id']}/preview?rows=1").json()
    assert preview["rows"] == [[[[None, 1.0], [2.0, 3.0]]]]


def test_a_preview_of_more_than_anyone_looks_at_is_refused(api: Any) -> None:
    dataset = api.upload(npz(image=np.zeros((3, 1000, 400), np.uint8)), "application/x-npz")
    (problem,) = api.client.get(f"/v1/datasets/{dataset['id']}/preview").json()["errors"]
    assert (problem["path"], problem["allowed"]) == ("rows", {"ge": 1, "le": 2})
    assert api.client.get(f"/v1/datasets/{dataset['id']}/preview?rows=2").status_code == 200


def test_statistics_are_those_of_the_columns(api: Any) -> None:
    dataset = api.upload(CSV)
    statistics = api.client.get(f"/v1/datasets/{dataset['id']}/statistics").json()
    assert statistics == {"dataset": dataset["id"], "rows": 3, "columns": dataset["columns"]}


def test_a_data_set_that_a_job_needs_is_kept(both: Any, iris_csv: bytes) -> None:
    dataset = both.upload(iris_csv)["id"]
    job = both.submit(both.spec(dataset))["id"]
    answer = both.client.delete(f"/v1/datasets/{dataset}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    assert job in answer.json()["detail"]
    both.client.post(f"/v1/jobs/{job}/cancel")
    assert both.client.delete(f"/v1/datasets/{dataset}").status_code == 204


def test_lists_come_newest_first_and_in_pages(own: Any) -> None:
    ids = [own.upload(CSV, name=str(i))["id"] for i in range(5)][::-1]
    first = own.client.get("/v1/datasets?limit=3").json()
    assert first["object"] == "list"
    assert ([item["id"] for item in first["data"]], first["has_more"]) == (ids[:3], True)
    second = own.client.get(f"/v1/datasets?limit=3&after={ids[2]}").json()
    assert ([item["id"] for item in second["data"]], second["has_more"]) == (ids[3:], False)
    assert own.client.get(f"/v1/datasets?after={ids[4]}").json()["data"] == []
