"""Small models, really trained on real data, for a store of the test's own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from service.data.formats import profile_file, read_frame
from service.data.reader import Limits
from service.ids import new_id
from service.network import build_network, materialize, save_weights
from service.predict.cache import load
from service.randomness import permutation
from service.settings import Settings
from service.spec import JobSpec
from service.store import models
from service.store.blobs import BlobWriter
from service.store.engine import Store
from service.uncertainty.monte_carlo import MonteCarlo
from tests.service.predict.asking import Load
from worker.data import prepare
from worker.training.calibrate import calibration_of

DATASET = "ds_" + "0" * 26
STEPS = 60
BATCH = 256


@dataclass(frozen=True)
class Trained:
    """A model as the worker would store it."""

    row: dict[str, Any]
    weights: bytes

    def insert(self, store: Store) -> str:
        """Put the model into a store, under an id of its own."""
        writer = BlobWriter(store)
        writer.write(self.weights)
        with store.begin() as session:
            return models.insert(session, job=new_id("job"), weights=writer.finish(session), **self.row).id


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes, str, dict[str, Any]], Trained]:
    """Train a specification on a file for a moment."""
    folder = tmp_path_factory.mktemp("models")

    def train_now(data: bytes, format: str, body: dict[str, Any], calibrated: bool = False) -> Trained:
        spec = JobSpec.model_validate(
            {**body, "data": {"dataset": DATASET, "target": "target", **body.get("data", {})}}
        )
        return trained(_file(folder, data), format, spec, calibrated)

    return train_now


def _file(folder: Path, data: bytes) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}"
    path.write_bytes(data)
    return path


def trained(path: Path, format: str, spec: JobSpec, calibrated: bool) -> Trained:
    """Train for a moment: enough for predictions that mean something; to calibrate, on the training rows alone."""
    profile = profile_file(path, format, Limits.of(Settings()))
    columns = profile.columns
    used = [c for c in columns if c.name not in spec.data.targets]
    used += [c for c in columns if c.name in spec.data.targets]
    data = prepare(read_frame(path, format, columns, [column.name for column in used]), used, spec)
    network = materialize(build_network(spec.network, spec.regularization, data.input_shape, data.outputs), 0).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for step in range(STEPS):
        rows = data.train if calibrated else torch.arange(len(data.x))
        rows = rows[permutation(len(rows), 0, "test", step)[:BATCH]]
        optimizer.zero_grad()
        batch = data.rows(rows)
        spec.loss.per_row(network(batch.x), batch.y).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    calibration = calibration_of(MonteCarlo(network), spec, data, 1 << 24, lambda: None) if calibrated else None
    row = {
        "name": None,
        "spec": spec.canonical(),
        "task": spec.loss.task,
        "classes": data.classes,
        "columns": data.columns,
        "preprocessing": orjson.loads(orjson.dumps(data.preprocessing())),
        "metrics": {},
        "calibration": calibration.to_json() if calibration else None,
        "receipt": {},
        "parameters": network.parameter_count,
    }
    return Trained(row, save_weights(network))


@pytest.fixture(scope="session", name="layers")
def layers_fixture() -> Callable[..., list[Any]]:
    """A small network, with or without dropout."""
    return layers


def layers(*, dropout: float | None = 0.2) -> list[Any]:
    """Return the layers of a small network, with or without dropout."""
    dense = {"type": "dense", "units": 16, "activation": "relu"}
    between = [] if dropout is None else [{"type": "dropout", "rate": dropout}]
    return [dense, *between, dense, *between, {"type": "dense", "units": "auto"}]


@pytest.fixture
def loaded(sqlite_store: Store) -> Load:
    """Put trained models into a store, and load them from there."""
    return lambda model: load(sqlite_store, model.insert(sqlite_store))


@pytest.fixture(scope="session")
def wine(train: Any, wine_csv: bytes) -> Trained:
    """Three named classes from 13 numbers, two layers of dropout."""
    body = {"network": {"layers": layers()}, "loss": "cross_entropy", "data": {"preprocessing": "standardize"}}
    model: Trained = train(wine_csv, "csv", body)
    return model


@pytest.fixture(scope="session")
def diabetes(train: Any, diabetes_csv: bytes) -> Trained:
    """A number from 10, the target standardised in training."""
    preparation = {"preprocessing": "standardize", "target_preprocessing": "standardize"}
    model: Trained = train(diabetes_csv, "csv", {"network": {"layers": layers()}, "loss": "mse", "data": preparation})
    return model


@pytest.fixture(scope="session")
def plain(train: Any, wine_csv: bytes) -> Trained:
    """The wines, without dropout."""
    body = {
        "network": {"layers": layers(dropout=None)},
        "loss": "cross_entropy",
        "data": {"preprocessing": "standardize"},
    }
    model: Trained = train(wine_csv, "csv", body)
    return model


@pytest.fixture(scope="session")
def digits(train: Any, digits_npz: bytes) -> Trained:
    """Ten whole numbers from images, by a network of convolutions with batch norm and dropout."""
    network = [
        {"type": "conv2d", "filters": 8, "kernel_size": 3, "activation": "relu"},
        "batch_norm",
        {"type": "dropout", "rate": 0.1},
        "max_pool2d",
        "flatten",
        {"type": "dense", "units": "auto"},
    ]
    body = {"network": {"layers": network}, "loss": "cross_entropy", "data": {"preprocessing": "min_max"}}
    model: Trained = train(digits_npz, "npz", body)
    return model


@pytest.fixture(scope="session")
def sure_wine(train: Any, wine_csv: bytes) -> Trained:
    """The wines, trained on some rows and calibrated on others."""
    body = {"network": {"layers": layers()}, "loss": "cross_entropy", "data": {"preprocessing": "standardize"}}
    model: Trained = train(wine_csv, "csv", body, calibrated=True)
    return model


@pytest.fixture(scope="session")
def sure_diabetes(train: Any, diabetes_csv: bytes) -> Trained:
    """The number, trained on some rows and calibrated on others."""
    preparation = {"preprocessing": "standardize", "target_preprocessing": "standardize", "split": {"validation": 0.4}}
    body = {"network": {"layers": layers()}, "loss": "mse", "data": preparation}
    model: Trained = train(diabetes_csv, "csv", body, calibrated=True)
    return model


@pytest.fixture(scope="session")
def labelled(train: Any) -> Trained:
    """Two labels of two numbers, calibrated."""
    source = np.random.Generator(np.random.Philox(1))
    x = source.normal(size=(400, 2))
    truth = x + source.normal(size=x.shape) * 0.5 > 0
    lines = ["a,b,left,right", *(f"{a},{b},{int(p)},{int(q)}" for (a, b), (p, q) in zip(x, truth, strict=True))]
    body = {"network": {"layers": layers()}, "loss": "binary_cross_entropy", "data": {"target": ["left", "right"]}}
    model: Trained = train("\n".join(lines).encode(), "csv", body, calibrated=True)
    return model
