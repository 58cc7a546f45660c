"""Models with their first weights, as the worker would store them: enough where nobody asks how good they are."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from service.data.formats import Limits, profile_file, read_frame
from service.export.model_file import ModelFile
from service.export.safetensors_file import KEY
from service.ids import new_id
from service.network import build_network, materialize, save_weights
from service.predict.cache import LoadedModel, assembled
from service.settings import Settings
from service.spec import JobSpec
from service.store.blobs import BlobWriter
from service.store.engine import Store
from service.store.models import insert
from service.store.tables import Model
from service.uncertainty.monte_carlo import MonteCarlo
from worker.data import prepare, used_columns
from worker.training.calibrate import calibration_of

DATASET = "ds_" + "0" * 26
Json = dict[str, Any]


@dataclass(frozen=True)
class Untrained:
    """A model that is in no store."""

    row: Model
    weights: bytes

    @property
    def loaded(self) -> LoadedModel:
        """A fresh one to ask."""
        return assembled(self.row, self.weights)

    def put(self, store: Store, job: str | None = None) -> str:
        """Put the model into a store, and return its id there."""
        writer = BlobWriter(store)
        writer.write(self.weights)
        names = ("name", "spec", "task", "classes", "columns", "preprocessing", "metrics", "calibration", "receipt")
        values = {name: getattr(self.row, name) for name in names}
        with store.begin() as session:
            made = insert(session, job=job, weights=writer.finish(session), parameters=self.row.parameters, **values)
            return made.id


def untrained(data: bytes, kind: str, body: Json, seed: int = 0) -> Untrained:
    """Make a model of a specification, calibrated where there are validation rows."""
    spec = JobSpec.model_validate({**body, "data": {"dataset": DATASET, **body["data"]}})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data"
        file.write_bytes(data)
        profile = profile_file(file, kind, Limits.of(Settings()))
        used = used_columns(spec.data, profile.columns)
        prepared = prepare(read_frame(file, kind, profile.columns, [c.name for c in profile.columns]), used, spec)
    network = build_network(
        spec.network, spec.regularization, prepared.input_shape, prepared.outputs, vocabulary=prepared.vocabulary
    )
    materialize(network, seed).eval()
    calibration = calibration_of(MonteCarlo(network), spec, prepared, 1 << 24, lambda: None)
    weights = save_weights(network)
    rows = {part: len(getattr(prepared, part)) for part in ("train", "validation", "test")}
    values = {
        "spec": spec.canonical(),
        "columns": prepared.columns,
        "preprocessing": prepared.preprocessing(),
        "calibration": calibration.to_json() if calibration else None,
        "receipt": {"spec_sha256": spec.sha256(), "rows": rows, "versions": {"torch": "2.13"}},
    }
    row = Model(
        id=new_id("mdl"), job=new_id("job"), name=spec.name, task=spec.loss.task, classes=prepared.classes,
        metrics={"train": {"loss": 1.5}}, weights_sha256=hashlib.sha256(weights).hexdigest(), size=len(weights),
        parameters=network.parameter_count, created_at=1.0, **orjson.loads(orjson.dumps(values)),
    )  # fmt: skip
    return Untrained(row, weights)


def exported(model: Untrained) -> bytes:
    """The file of a model, as `pieces` writes it from a store."""
    size = int.from_bytes(model.weights[:8], "little")
    tensors = json.loads(model.weights[8 : 8 + size])
    text = ModelFile.of(model.row).encode().decode()
    header = json.dumps({"__metadata__": {KEY: text}, **tensors}).encode()
    return len(header).to_bytes(8, "little") + header + model.weights[8 + size :]
