"""Training that starts from what another job, or another program, has learned."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from sqlalchemy import update
from torch import Tensor, nn

from service.network.tensors import inspect
from service.settings import Settings
from service.store import jobs, models, upkeep, weights
from service.store.blobs import BlobWriter
from service.store.clock import now
from service.store.engine import Store
from service.store.tables import Blob, Chunk, Dataset
from tests.worker.runs import SPEC, attempt, changed, outcome, put, queue, weights_of
from worker import draining

AtStep = Callable[[int, Callable[[], None]], None]
Json = dict[str, Any]
HEAD: list[Json] = [{"type": "dense", "units": 8, "activation": "relu"}, {"type": "dense", "units": "auto"}]
STEPS = 42


@pytest.fixture
def source(sqlite_store: Store, settings: Settings, wine: Dataset) -> str:
    """A model of the wines: dense, batch normalisation, dropout, dense, dropout, dense."""
    job = attempt(sqlite_store, settings, queue(sqlite_store, wine, SPEC))
    return str(job.model)


def onto(source: str, head: list[Json] = HEAD, **fields: Any) -> Json:
    """Return a specification that puts a new head onto layers of a source, with another seed and no defaults."""
    spec = changed(training={"seed": 5})
    spec["network"] = {"layers": [{"type": "pretrained", "source": source, **fields}, *copy.deepcopy(head)]}
    return spec


def tensors_of(store: Store, model_id: str) -> dict[str, Tensor]:
    with store.read() as session:
        return weights_of(store, models.get(session, model_id).job)


def taken(after: dict[str, Tensor], before: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the tensors of the first block beside those of the source, by their names there."""
    block = "layers.pretrained_0."
    pairs = {name.removeprefix(block): value for name, value in after.items() if name.startswith(block)}
    assert pairs
    return {name: (value, before[name]) for name, value in pairs.items()}


def bits(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


def test_frozen_layers_of_a_model_keep_its_weights_and_statistics_bit_for_bit(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str
) -> None:
    spec = onto(source, until="dense_3", trainable=False)
    job = queue(sqlite_store, wine, spec)
    attempt(sqlite_store, settings, job)
    before, after = tensors_of(sqlite_store, source), weights_of(sqlite_store, job)
    pairs = taken(after, before)
    assert {name.split(".")[1] for name in pairs} == {"dense_0", "batch_norm_1", "dense_3"}
    assert {"layers.batch_norm_1.running_mean", "layers.batch_norm_1.num_batches_tracked"} <= pairs.keys()
    assert all(bits(mine) == bits(theirs) for mine, theirs in pairs.values())
    assert not before["layers.batch_norm_1.running_mean"].eq(0).any()
    with sqlite_store.read() as session:
        model = models.get(session, str(jobs.get(session, job).model))
    assert model.metrics["test"]["accuracy"] > 0.6


def test_layers_of_a_model_that_learn_start_from_its_weights(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str
) -> None:
    spec = onto(source, until="dense_3", learning_rate_factor=1e-3)
    job = queue(sqlite_store, wine, spec)
    attempt(sqlite_store, settings, job)
    pairs = taken(weights_of(sqlite_store, job), tensors_of(sqlite_store, source))
    for name in ("layers.dense_0.kernel.weight", "layers.dense_3.kernel.weight"):
        mine, theirs = pairs[name]
        assert 0 < (mine - theirs).norm() < 0.01 * theirs.norm()


def test_a_whole_model_can_learn_on_and_its_head_keeps_its_place(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str
) -> None:
    still = {"type": "sgd", "learning_rate": 1e-30}
    spec = onto(source, head=[]) | {"optimizer": still, "training": {"epochs": 1, "batch_size": 200}}
    job = queue(sqlite_store, wine, spec)
    attempt(sqlite_store, settings, job)
    with sqlite_store.read() as session:
        old, new = models.get(session, source), models.get(session, str(jobs.get(session, job).model))
    pairs = taken(weights_of(sqlite_store, job), tensors_of(sqlite_store, source))
    assert all(torch.equal(*pair) for name, pair in pairs.items() if "kernel" in name)
    assert new.metrics["test"]["accuracy"] >= old.metrics["test"]["accuracy"] - 0.1
    outputs = new.spec["network"]["layers"][0]["layers"][-1]
    assert (outputs["name"], outputs["units"], outputs["activation"]) == ("dense_5", 3, None)
    hidden = new.spec["network"]["layers"][0]["layers"][0]
    assert hidden["activation"] == {"type": "relu"}  # the source's default, said by the layer itself


def test_groups_of_layers_learn_at_rates_of_their_own(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str
) -> None:
    spec = onto(source, until="batch_norm_1", trainable=False)
    behind = {"type": "pretrained", "source": source, "after": "batch_norm_1", "until": "dense_3"}
    spec["network"]["layers"].insert(1, {**behind, "learning_rate_factor": 0.01})
    job = queue(sqlite_store, wine, spec)
    attempt(sqlite_store, settings, job)
    before, after = tensors_of(sqlite_store, source), weights_of(sqlite_store, job)
    assert all(bits(mine) == bits(theirs) for mine, theirs in taken(after, before).values())
    name = "layers.dense_3.kernel.weight"
    assert 0 < (after[f"layers.pretrained_1.{name}"] - before[name]).norm() < 0.1 * before[name].norm()


@pytest.mark.parametrize("step", [0, 13, 14, 17, 41])
def test_a_run_given_back_at_any_step_ends_with_the_bits_of_an_undisturbed_one(
    step: int, sqlite_store: Store, settings: Settings, wine: Dataset, source: str, at_step: AtStep
) -> None:
    spec = onto(source, until="dropout_4", trainable=False, unfreeze_at_epoch=3, learning_rate_factor=0.1)
    whole, broken = (queue(sqlite_store, wine, spec) for _ in range(2))
    assert attempt(sqlite_store, settings, whole).step == STEPS
    at_step(step, draining.drain)
    assert attempt(sqlite_store, settings, broken).status == "queued"
    draining.resume()
    at_step(-1, draining.drain)
    attempt(sqlite_store, settings, broken)
    assert outcome(sqlite_store, broken) == outcome(sqlite_store, whole)
    pairs = taken(weights_of(sqlite_store, whole), tensors_of(sqlite_store, source))
    assert not any(torch.equal(*pair) for pair in pairs.values())


def test_a_model_that_started_from_another_can_be_started_from(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str
) -> None:
    first = attempt(sqlite_store, settings, queue(sqlite_store, wine, onto(source, until="dense_3", trainable=False)))
    job = queue(sqlite_store, wine, onto(str(first.model), until="dense_1", trainable=False))
    attempt(sqlite_store, settings, job)
    pairs = taken(weights_of(sqlite_store, job), tensors_of(sqlite_store, str(first.model)))
    assert "layers.pretrained_0.layers.batch_norm_1.running_var" in pairs
    assert all(bits(mine) == bits(theirs) for mine, theirs in pairs.values())


def test_the_same_weights_give_the_same_hash_under_any_id(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str
) -> None:
    again = str(attempt(sqlite_store, settings, queue(sqlite_store, wine, SPEC)).model)
    other = str(attempt(sqlite_store, settings, queue(sqlite_store, wine, changed(training={"seed": 1}))).model)
    found = []
    for each in (source, again, other):
        with sqlite_store.read() as session:
            found.append(jobs.get(session, queue(sqlite_store, wine, onto(each, until="dense_3"))).spec_sha256)
    assert found[0] == found[1] != found[2]


def forget_everything_unneeded(store: Store) -> None:
    """Throw away all bytes that nothing refers to, as if hours had passed."""
    with store.begin() as session:
        session.execute(update(Chunk).values(touched_at=now() - 7200))
        session.execute(update(Blob).values(touched_at=now() - 7200))
    upkeep.tidy(store)


def test_a_job_keeps_the_weights_of_a_model_that_is_deleted_until_it_is_deleted_itself(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str
) -> None:
    before = tensors_of(sqlite_store, source)
    job_id = queue(sqlite_store, wine, onto(source, until="dense_3", trainable=False))
    with sqlite_store.begin() as session:
        row = models.get(session, source)
        sha256 = row.weights_sha256
        models.delete(session, source)
        jobs.delete(session, row.job)
    forget_everything_unneeded(sqlite_store)
    attempt(sqlite_store, settings, job_id)
    pairs = taken(weights_of(sqlite_store, job_id), before)
    assert all(bits(mine) == bits(theirs) for mine, theirs in pairs.values())
    with sqlite_store.begin() as session:
        assert session.get(Blob, sha256) is not None
        jobs.delete(session, job_id)
    forget_everything_unneeded(sqlite_store)
    with sqlite_store.read() as session:
        assert session.get(Blob, sha256) is None


def test_weights_that_are_corrupt_fail_the_job_with_that_reason(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str
) -> None:
    job_id = queue(sqlite_store, wine, onto(source, until="dense_3"))
    with sqlite_store.begin() as session:
        session.get_one(Chunk, models.get(session, source).weights_sha256).data = b"rotten"
    job = attempt(sqlite_store, settings, job_id)
    assert (job.status, job.error_code) == ("failed", "weights_gone")
    assert "network.layers[0]" in str(job.error_message)


def imported(store: Store, path: Path, tensors: dict[str, Tensor]) -> str:
    """Store a safetensors file as HTTP does."""
    path.write_bytes(safetensors.torch.save(tensors))
    found = inspect(path)
    writer = BlobWriter(store)
    writer.write(path.read_bytes())
    with store.begin() as session:
        shapes = {name: tensor.model_dump(mode="json") for name, tensor in found.items()}
        return weights.insert(session, name="w", blob=writer.finish(session), tensors=shapes, parameters=1).id


class Encoder(nn.Module):
    """A network as somebody else names its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten()
        )
        self.fc = nn.Linear(96, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.features(x))
        return out


ENCODER: list[Json] = [
    {"type": "conv2d", "name": "conv1", "filters": 4, "kernel_size": 3},
    {"type": "batch_norm", "name": "bn1"},
    {"type": "activation", "activation": "relu"},
    {"type": "residual", "name": "rest", "layers": [
        {"type": "conv2d", "name": "conv2", "filters": 6, "kernel_size": 3, "activation": "relu"}],
     "shortcut": [{"type": "conv2d", "name": "past", "filters": 6, "kernel_size": 3}]},
    "flatten",
    {"type": "dense", "name": "fc", "units": 16},
]  # fmt: skip
RENAME = {"features.0": "conv1", "features.1": "bn1", "features.3": "rest.layers.conv2", "past": "rest.shortcut.past"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_program_are_found_by_their_names(
    dtype: torch.dtype, sqlite_store: Store, settings: Settings, digits_npz: bytes, tmp_path: Path
) -> None:
    digits = put(sqlite_store, tmp_path / "digits.npz", digits_npz, "npz")
    encoder = Encoder()
    with torch.no_grad():
        encoder.features[1].running_mean.uniform_(0, 1)  # type: ignore[operator,union-attr]
    stored = {name: value.to(dtype) for name, value in encoder.state_dict().items() if value.is_floating_point()}
    stored |= {"past.weight": torch.zeros(6, 4, 3, 3, dtype=dtype), "past.bias": torch.zeros(6, dtype=dtype)}
    source = imported(sqlite_store, tmp_path / "w", stored | {"unused": torch.arange(3)})
    spec = onto(source, layers=ENCODER, rename=RENAME, trainable=False)
    spec["data"] |= {"target": "target", "features": ["image"], "preprocessing": []}
    spec["training"] = {"epochs": 1, "batch_size": 64}
    job = queue(sqlite_store, digits, spec)
    attempt(sqlite_store, settings, job)
    after = {
        name.removeprefix("layers.pretrained_0.layers."): value for name, value in weights_of(sqlite_store, job).items()
    }
    mapped = {
        "conv1.kernel.weight": "features.0.weight",
        "bn1.running_mean": "features.1.running_mean",
        "bn1.running_var": "features.1.running_var",
        "rest.layers.conv2.kernel.bias": "features.3.bias",
        "rest.shortcut.past.kernel.weight": "past.weight",
        "fc.kernel.weight": "fc.weight",
    }
    for own, theirs in mapped.items():
        assert bits(after[own]) == bits(stored[theirs].float()), own


def test_an_exported_model_can_be_imported_and_needs_no_rename(
    sqlite_store: Store, settings: Settings, wine: Dataset, source: str, tmp_path: Path
) -> None:
    before = tensors_of(sqlite_store, source)
    layers = [
        {"type": "dense", "name": "dense_0", "units": 16, "activation": "relu"},
        {"type": "batch_norm", "name": "batch_norm_1"},
    ]
    spec = onto(imported(sqlite_store, tmp_path / "w", before), layers=layers, trainable=False)
    job = queue(sqlite_store, wine, spec)
    attempt(sqlite_store, settings, job)
    pairs = taken(weights_of(sqlite_store, job), before)
    assert len(pairs) == 7 and all(bits(mine) == bits(theirs) for mine, theirs in pairs.values())
