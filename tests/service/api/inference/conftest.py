"""Models of every kind behind a running server, and the stock client that asks them."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

tritonclient = importlib.import_module("tritonclient.http")

MIXED = b"""\
size,count,colour,sold,target
1.5,3,red,true,a
2.5,4,blue,false,b
,5,red,true,a
3.5,6,green,false,b
4.5,7,blue,true,a
5.5,8,red,false,b
"""


@dataclass(frozen=True)
class Served:
    """A model, and how to ask for it in `/v1`."""

    api: Any
    id: str

    def predict(self, rows: list[Any], **options: Any) -> dict[str, Any]:
        answer = self.api.client.post(f"/v1/models/{self.id}/predict", json={"rows": rows, **options})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="session")
def flowers(sqlite_api: Any, iris_csv: bytes) -> Served:
    """Three named classes from four numbers."""
    return with_data(sqlite_api, iris_csv, "text/csv", name="iris")


@pytest.fixture(scope="session")
def patients(sqlite_api: Any, diabetes_csv: bytes) -> Served:
    """A number from ten."""
    return with_data(
        sqlite_api, diabetes_csv, "text/csv", loss="mse", metrics=[],
        preprocessing="standardize", target_preprocessing="standardize",
    )  # fmt: skip


@pytest.fixture(scope="session")
def images(sqlite_api: Any, digits_npz: bytes) -> Served:
    """Ten whole numbers from images."""
    dropout, out = {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": "auto"}
    layers = ["flatten", {"type": "dense", "units": 8}, dropout, out]
    return with_data(sqlite_api, digits_npz, "application/x-npz", network={"layers": layers}, preprocessing="min_max")


@pytest.fixture(scope="session")
def goods(sqlite_api: Any) -> Served:
    """Two classes from a number that may be missing, a whole number, a text and a yes or no."""
    steps = [{"type": "impute"}, {"type": "one_hot"}, {"type": "standardize"}]
    return with_data(sqlite_api, MIXED, "text/csv", preprocessing=steps)


def with_data(api: Any, content: bytes, content_type: str, **more: Any) -> Served:
    """Train a model for a moment; what is not of the job is of its data section."""
    preparation = {name: more.pop(name) for name in ("preprocessing", "target_preprocessing") if name in more}
    section = {"dataset": api.upload(content, content_type)["id"], "target": "target", **preparation}
    job = api.submit(api.spec("", data=section, **more))["id"]
    api.work(only=job)
    done = api.client.get(f"/v1/jobs/{job}").json()
    assert done["status"] == "succeeded", done["error"]
    return Served(api, done["model"])


@pytest.fixture
def triton(sqlite_api: Any) -> Iterator[Any]:
    """The stock client."""
    with tritonclient.InferenceServerClient(f"127.0.0.1:{sqlite_api.client.base_url.port}") as client:
        yield client


@pytest.fixture(params=[True, False], ids=["binary", "json"])
def binary(request: pytest.FixtureRequest) -> bool:
    """Whether tensors stand behind the JSON, both ways."""
    return bool(request.param)
