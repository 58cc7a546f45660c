"""Units that start the same stay the same: training cannot tell them apart."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from service.predict.cache import load
from service.settings import Settings
from service.store.engine import Store
from tests.worker.runs import attempt, changed, put, queue

UNITS = 6


def trained(store: Store, url: str, path: Path, csv: bytes, initializer: str | dict[str, Any] | None) -> list[Tensor]:
    """Train on wines for a few epochs, and return the kernel into the hidden units and the one out of them."""
    hidden = {"type": "dense", "units": UNITS, "activation": "sigmoid"}
    network = {"layers": [hidden, {"type": "dense", "units": "auto"}], "initializer": initializer}
    spec = changed(optimizer={"type": "sgd", "learning_rate": 1.0}, training={"epochs": 8})
    job = attempt(store, Settings(database_url=url), queue(store, put(store, path, csv), {**spec, "network": network}))
    assert job.status == "succeeded", job.error_message
    network = load(store, str(job.model)).monte_carlo.network
    into, out = (record.module.get_parameter("kernel.weight").detach() for record in network.records)
    return [into, out.T]


@pytest.mark.parametrize("initializer", ["zeros", {"type": "constant", "value": 0.3}, None], ids=str)
def test_units_differ_after_training_only_if_they_did_before(
    initializer: str | dict[str, Any] | None, sqlite_store: Store, sqlite_url: str, tmp_path: Path, wine_csv: bytes
) -> None:
    kernels = trained(sqlite_store, sqlite_url, tmp_path / "wine.csv", wine_csv, initializer)
    for kernel in kernels:  # a row a unit
        assert kernel.abs().max() > 0.01, "nothing was learned"
        alike = torch.allclose(kernel, kernel[:1].expand(UNITS, -1), rtol=1e-4, atol=1e-5)
        assert alike is (initializer is not None)
