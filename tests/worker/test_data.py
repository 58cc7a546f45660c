"""Stored data sets to tensors: what is read, how rows are divided, and what is learned from which."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import update

from service.data.pipeline import Features, TargetCodec
from service.data.profile import ColumnProfile
from service.errors import CorruptBlob, InvalidSpec, NotFound
from service.spec import JobSpec
from service.store import datasets
from service.store.blobs import write_blob
from service.store.engine import Store
from service.store.tables import Chunk, Dataset
from tests.support.uploaded import Uploader, spec_of
from tests.worker.runs import put
from worker.data import TrainingData, load, prepare, used_columns


def specified(loss: str = "cross_entropy", seed: int = 0, **data: Any) -> JobSpec:
    spec = spec_of(loss, **{"target": "target", **data})
    return spec.model_copy(update={"training": spec.training.model_copy(update={"seed": seed})})


@pytest.fixture
def upload(tmp_path: Path) -> Uploader:
    return Uploader(tmp_path)


def parts_of(data: TrainingData) -> list[int]:
    return [len(data.train), len(data.validation), len(data.test)]


def test_load(sqlite_store: Store, wine: Dataset, wine_csv: bytes) -> None:
    spec = specified(split={"validation": 0.2, "test": 0.1}, preprocessing="standardize")
    data = load(sqlite_store, wine, spec)
    assert (data.x.shape, data.x.dtype) == ((178, 13), torch.float32)
    assert (data.y.shape, data.y.dtype, data.outputs) == ((178,), torch.int64, 3)
    assert (data.input_shape, data.target.classes) == ((13,), ("class_0", "class_1", "class_2"))
    assert parts_of(data) == [124, 36, 18]
    raw = np.loadtxt(wine_csv.decode().splitlines()[1:], delimiter=",", usecols=range(13))
    train = raw[data.train]
    assert np.allclose(data.x, (raw - train.mean(0)) / train.std(0), atol=1e-5)


def test_what_the_model_keeps_reads_the_rows_of_the_file(sqlite_store: Store, wine: Dataset, wine_csv: bytes) -> None:
    data = load(sqlite_store, wine, specified(preprocessing="standardize"))
    kept = data.preprocessing()
    assert (kept["input_shape"], kept["outputs"]) == ([13], 3)
    features = Features.from_json(kept["features"])
    cells = [line.split(",") for line in wine_csv.decode().splitlines()[1:]]
    rows = [[float(cell) for cell in line[:13]] for line in cells]
    assert np.array_equal(features.transform(features.read_rows(rows)), data.x.numpy())
    assert TargetCodec.from_json(kept["target"]).classes == data.target.classes
    assert [column["name"] for column in data.columns][-1] == "target" and len(data.columns) == 14


def test_regression_in_its_own_units(sqlite_store: Store, diabetes_csv: bytes, tmp_path: Path) -> None:
    dataset = put(sqlite_store, tmp_path / "diabetes.csv", diabetes_csv)
    data = load(sqlite_store, dataset, specified("mse", target_preprocessing="standardize"))
    assert (data.y.shape, data.y.dtype, data.outputs) == ((442, 1), torch.float32, 1)
    assert data.y[data.train].mean().item() == pytest.approx(0, abs=1e-6)
    raw = np.loadtxt(diabetes_csv.decode().splitlines()[1:], delimiter=",", usecols=-1)
    assert np.allclose(data.target.decode(data.y.numpy())[:, 0], raw, rtol=1e-5)


def test_images(sqlite_store: Store, digits_npz: bytes, tmp_path: Path) -> None:
    columns = [column.model_dump(mode="json") for column in Uploader(tmp_path)(digits_npz, "npz").profile.columns]
    blob = write_blob(sqlite_store, [digits_npz], chunk_bytes=10_000)
    with sqlite_store.begin() as session:
        dataset = datasets.insert(
            session, name="digits", format="npz", sha256=blob.sha256, size=blob.size, rows=1797, columns=columns
        )
    data = load(sqlite_store, dataset, specified())
    assert (data.input_shape, data.outputs, data.x.shape[0]) == ((1, 8, 8), 10, 1797)
    assert data.target.classes == tuple(range(10))


def test_only_the_columns_in_use_are_read(sqlite_store: Store, wine: Dataset) -> None:
    data = load(sqlite_store, wine, specified(features=["hue", "alcohol"]))
    assert data.input_shape == (2,)
    assert [column["name"] for column in data.columns] == ["hue", "alcohol", "target"]


def test_rotten_bytes_are_never_trained_on(sqlite_store: Store, wine: Dataset) -> None:
    with sqlite_store.begin() as session:
        session.execute(update(Chunk).values(data=b"a,b\n1,2\n"))
    with pytest.raises(CorruptBlob):
        load(sqlite_store, wine, specified())


def test_bytes_that_are_gone(sqlite_store: Store, wine: Dataset) -> None:
    wine.sha256 = "0" * 64
    with pytest.raises(NotFound):
        load(sqlite_store, wine, specified())


def test_tensors_move_together(sqlite_store: Store, wine: Dataset) -> None:
    data = load(sqlite_store, wine, specified()).to("meta")
    assert {getattr(data, name).device.type for name in ("x", "y", "train", "validation", "test")} == {"meta"}


@pytest.mark.parametrize("data", [{"target": "nothing"}, {"features": ["nothing"]}])
def test_an_unknown_column_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match="'nothing'"):
        used_columns(specified(**data).data, [ColumnProfile(name="target", type="integer")])


def test_numbers_too_large_for_float32_are_refused_as_a_column(upload: Uploader) -> None:
    found = upload("a,target\n1,0\n1e200,1\n2,0\n3,1\n4,1\n5,0\n")
    with pytest.raises(InvalidSpec) as caught:
        prepare(found.read(), found.profile.columns, specified())
    (problem,) = caught.value.problems
    assert problem.path == "data.features" and "float32" in problem.message


def test_a_loss_that_does_not_fit_the_classes_is_refused(sqlite_store: Store, wine: Dataset) -> None:
    with pytest.raises(InvalidSpec) as caught:
        load(sqlite_store, wine, specified("binary_cross_entropy"))
    assert [problem.path for problem in caught.value.problems] == ["loss"]


def test_only_training_rows_are_learned_from(upload: Uploader, wine_csv: bytes) -> None:
    """Other numbers in the rows that are held back leave the training rows as they are."""
    found = upload(wine_csv)
    spec = specified(preprocessing="standardize", split={"validation": 0.2, "test": 0.2})
    frame = found.read()
    data = prepare(frame, found.profile.columns, spec)
    values = frame["alcohol"].values.copy()
    values[np.concatenate([data.validation, data.test])] += 1000
    moved = prepare(frame | {"alcohol": replace(frame["alcohol"], values=values)}, found.profile.columns, spec)
    assert torch.equal(moved.x[data.train], data.x[data.train])
    assert torch.equal(moved.train, data.train)


FORK = """
import os, sys
from pathlib import Path
from service.data.formats import Limits, profile_file, read_frame
from service.settings import Settings
import worker.data
path = Path(sys.argv[1])
for _ in range(3):
    pid = os.fork()
    if not pid:
        profile = profile_file(path, "csv", Limits.of(Settings()))
        os._exit(0 if len(read_frame(path, "csv", profile.columns)["target"].values) == 178 else 3)
    if os.waitpid(pid, 0)[1]:
        sys.exit(1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_what_its_parent_only_imported(wine_csv: bytes, tmp_path: Path) -> None:
    (tmp_path / "wine.csv").write_bytes(wine_csv)
    subprocess.run([sys.executable, "-c", FORK, str(tmp_path / "wine.csv")], check=True, timeout=60)
