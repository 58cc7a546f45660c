"""Jobs on real data in real stores: queueing them, running an attempt, and what a finished one leaves behind."""

import copy
from pathlib import Path
from typing import Any

import orjson
import safetensors.torch
from torch import Tensor

from service.api.sources import look_up
from service.data.formats import Limits, profile_file
from service.problems import parse_spec
from service.settings import Settings
from service.store import datasets, jobs, metrics, models
from service.store.blobs import blob_bytes, write_blob
from service.store.engine import Store
from service.store.tables import Dataset, Job
from worker.training.attempt import run_attempt

SPEC: dict[str, Any] = {
    "network": {
        "activation": "relu",
        "layers": [
            {"type": "dense", "units": 16, "constraint": {"max_norm": 2.0}},
            {"type": "batch_norm"},
            {"type": "dropout", "rate": 0.3},
            {"type": "dense", "units": 16, "regularizer": {"l1": 1e-4, "l2": 1e-4}},
            {"type": "dropout", "rate": 0.2},
            {"type": "dense", "units": "auto"},
        ],
    },
    "loss": "cross_entropy",
    "optimizer": {"type": "adam", "learning_rate": 0.01},
    "schedule": {"type": "cosine", "warmup_epochs": 1},
    "data": {"target": "target", "preprocessing": "standardize", "split": {"validation": 0.2, "test": 0.2}},
    "training": {"epochs": 6, "batch_size": 16, "log_every_steps": 3},
}


def changed(**sections: Any) -> dict[str, Any]:
    """Return the specification with whole sections replaced, or merged where both are objects."""
    spec = copy.deepcopy(SPEC)
    for name, value in sections.items():
        both = isinstance(value, dict) and isinstance(spec.get(name), dict) and "type" not in value
        spec[name] = spec[name] | value if both else value
    return spec


def put(store: Store, path: Path, content: bytes, kind: str = "csv") -> Dataset:
    """Upload a file, past HTTP."""
    path.write_bytes(content)
    profile = profile_file(path, kind, Limits.of(Settings()))
    blob = write_blob(store, [content])
    with store.begin() as session:
        columns = [column.model_dump(mode="json") for column in profile.columns]
        return datasets.insert(
            session, name="t", format=kind, sha256=blob.sha256, size=blob.size, rows=profile.rows, columns=columns
        )


def queue(store: Store, dataset: Dataset, spec: dict[str, Any]) -> str:
    """Queue a job, and return its id."""
    spec = copy.deepcopy(spec)
    spec["data"]["dataset"] = dataset.id
    parsed, _ = look_up(store, parse_spec(orjson.dumps(spec)))
    with store.begin() as session:
        job = jobs.insert(
            session,
            spec=parsed.canonical(),
            spec_sha256=parsed.sha256(),
            dataset=dataset.id,
            data_sha256=dataset.sha256,
            seed=parsed.training.seed,
            priority=parsed.priority,
            device=parsed.training.placement,
            starts_from=parsed.starts_from,
        )
    return job.id


def attempt(store: Store, settings: Settings, job_id: str) -> Job:
    """Claim the oldest job, which is to be this one, run one attempt of it and return what became of it."""
    with store.begin() as session:
        job = jobs.claim(session, "here", settings.lease_seconds)
    assert job is not None and job.id == job_id
    run_attempt(store, settings, job)
    with store.read() as session:
        return jobs.get(session, job_id)


def weights_of(store: Store, job_id: str) -> dict[str, Tensor]:
    """Return every weight and buffer of a finished job's model."""
    with store.read() as session:
        job = jobs.get(session, job_id)
        assert job.status == "succeeded" and job.model, job.error_message
        model = models.get(session, job.model)
    return safetensors.torch.load(blob_bytes(store, model.weights_sha256))


def outcome(store: Store, job_id: str) -> tuple[str, list[tuple[Any, ...]], dict[str, Any]]:
    """Return everything of a finished run that must not depend on what happened to it on the way."""
    with store.read() as session:
        job = jobs.get(session, job_id)
        assert job.status == "succeeded" and job.model, job.error_message
        model = models.get(session, job.model)
        rows = [(m.split, m.name, m.step, m.epoch, m.value) for m in metrics.query(session, job_id)]
    return model.weights_sha256, sorted(rows), model.metrics
