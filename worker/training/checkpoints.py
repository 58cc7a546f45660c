"""Where a run can go on from: tensors as safetensors, the rest as JSON, in one fenced transaction or not at all."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from service.errors import CorruptBlob, NotFound
from service.store import checkpoints, events, metrics
from service.store.blobs import BlobWriter, blob_bytes
from service.store.engine import Store
from service.store.tables import Checkpoint
from worker.lease import Lease
from worker.training.recorder import Recorder

log = logging.getLogger(__name__)
MODEL, OPTIMIZER, AVERAGE = "model/", "optimizer/", "average/"
Tensors = dict[str, Tensor]
State = dict[str, dict[str, Any]]
"""What an optimiser keeps besides tensors, as JSON values, by parameter and name."""


class _Unusable(Exception):
    """A checkpoint cannot be gone on from."""


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run. `best` are the weights of the best epoch where those are not the present ones."""

    epoch: int
    step: int
    rows: int
    tensors: Tensors
    state: dict[str, Any]
    metrics: dict[str, Any]
    kept: bool
    """Whether the job asked for this one to stay."""
    is_best: bool = False
    best: Tensors | None = None
    best_epoch: int = 0
    best_step: int = 0


def pack(network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Tensors, State]:
    """Return weights, buffers and the optimiser's tensors by name, on the CPU, and what else the optimiser keeps.

    Of lists of tensors each has its place in the name: `optimizer/0/old_dirs/3`.
    """
    tensors = {f"{MODEL}{name}": value for name, value in network.state_dict().items()}
    rest: State = {}
    for index, entry in optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            name = f"{OPTIMIZER}{index}/{key}"
            if isinstance(value, Tensor):
                tensors[name] = value
            elif isinstance(value, list):
                tensors |= {f"{name}/{place}": item for place, item in enumerate(value)}
                rest.setdefault(str(index), {})[key] = []
            else:
                rest.setdefault(str(index), {})[key] = value
    return cpu(tensors), rest


def unpack(tensors: Tensors, rest: State, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put what `pack` returned back."""
    network.load_state_dict(part(tensors, MODEL))
    entries: dict[int, dict[str, Any]] = {int(index): copy.deepcopy(entry) for index, entry in rest.items()}
    for name, value in part(tensors, OPTIMIZER).items():
        index, key, *place = name.split("/")
        entry = entries.setdefault(int(index), {})
        if place:
            entry[key] += [tensors[f"{OPTIMIZER}{index}/{key}/{len(entry[key])}"]]
        else:
            entry[key] = value
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})


def cpu(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return tensors as safetensors takes them: on the CPU, each with memory of its own."""
    own: Tensors = {}
    taken: set[int] = set()
    for name, value in tensors.items():
        own[name] = value.detach().cpu().contiguous()
        if own[name].untyped_storage().data_ptr() in taken:
            own[name] = own[name].clone()
        taken.add(own[name].untyped_storage().data_ptr())
    return own


def part(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """Return the tensors below a prefix, by their names behind it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def without(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """Return the tensors that are not below a prefix."""
    return {name: value for name, value in tensors.items() if not name.startswith(prefix)}


def model_part(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return what a checkpoint predicts with, by the names in the network: where there are averages, those."""
    return part(tensors, MODEL) | part(tensors, AVERAGE)


class Checkpoints:
    """The checkpoints of one attempt."""

    def __init__(self, store: Store, lease: Lease, chunk_bytes: int) -> None:
        self._store, self._lease, self._chunk_bytes = store, lease, chunk_bytes
        self._saved_best_epoch = 0

    def save(self, snapshot: Snapshot, recorder: Recorder) -> None:
        """Save a snapshot, and the measured values up to it, in one transaction."""
        best, last = self.write_blobs(snapshot)
        progress = recorder.progress(snapshot.epoch, snapshot.step, snapshot.rows)
        with self._lease.write(progress) as session:
            self.insert(session, snapshot, best, last)
            recorder.drain(session)
            where = f"at step {snapshot.step}, after {snapshot.epoch} epochs"
            self._event(session, "checkpoint", f"Checkpoint {where}.", {"step": snapshot.step, "epoch": snapshot.epoch})

    def write_blobs(self, snapshot: Snapshot) -> tuple[BlobWriter | None, BlobWriter]:
        """Store the bytes of the best weights, if they are not stored yet, and of the snapshot."""
        unsaved = snapshot.best is not None and snapshot.best_epoch != self._saved_best_epoch
        return self._write(snapshot.best or {}) if unsaved else None, self._write(snapshot.tensors)

    def insert(self, session: Any, snapshot: Snapshot, best: BlobWriter | None, last: BlobWriter) -> None:
        """Add the rows of a snapshot whose bytes are stored, in a transaction that the lease opened."""
        if best is not None:
            checkpoints.insert(
                session,
                job=self._lease.job_id,
                attempt=self._lease.attempt,
                epoch=snapshot.best_epoch,
                step=snapshot.best_step,
                blob=best.finish(session),
                state={},
                metrics=snapshot.state["best_values"],
                last=False,
                best=True,
            )
        checkpoints.insert(
            session,
            job=self._lease.job_id,
            attempt=self._lease.attempt,
            epoch=snapshot.epoch,
            step=snapshot.step,
            blob=last.finish(session),
            state=snapshot.state,
            metrics=snapshot.metrics,
            last=True,
            best=snapshot.is_best,
            kept=snapshot.kept,
        )
        self._saved_best_epoch = snapshot.best_epoch

    def resume(self) -> tuple[Checkpoint, Tensors, Tensors | None] | None:
        """Return the furthest sound checkpoint, its tensors and those of the best epoch; cut back what came after.

        A corrupt checkpoint is passed over, and an event says so.
        """
        with self._store.read() as session:
            rows = checkpoints.resumable(session, self._lease.job_id)
        for row in rows:
            if not row.state:
                continue  # only the weights of a best epoch
            try:
                tensors = self._read(row)
                kept = self._best_of(row, rows, tensors)
            except _Unusable:
                continue
            with self._lease.write() as session:
                metrics.delete_after(session, self._lease.job_id, row.step)
                checkpoints.rewind(session, self._lease.job_id, row)
                self._event(session, "resumed", f"Going on from step {row.step}.", {"step": row.step})
            self._saved_best_epoch = int(row.state["best_epoch"])
            return row, tensors, kept
        self._from_the_start()
        return None

    def _best_of(self, row: Checkpoint, rows: Sequence[Checkpoint], tensors: Tensors) -> Tensors | None:
        """Return the weights of the best epoch up to a checkpoint; None where there was no best epoch yet."""
        if not row.state["best_epoch"]:
            return None
        if row.state["best_epoch"] == row.epoch and row.state["batch"] == 0:
            return model_part(tensors)
        for other in rows:
            if (other.epoch, other.step) == (row.state["best_epoch"], row.state["best_step"]):
                return model_part(self._read(other))
        raise _Unusable

    def _from_the_start(self) -> None:
        with self._lease.write() as session:
            metrics.delete_after(session, self._lease.job_id, -1)
            checkpoints.rewind(session, self._lease.job_id, None)

    def _read(self, row: Checkpoint) -> Tensors:
        try:
            return safetensors.torch.load(blob_bytes(self._store, row.blob))
        except (CorruptBlob, NotFound, SafetensorError) as error:
            log.error("job %s: checkpoint %s cannot be used: %s", self._lease.job_id, row.id, error)
            with self._lease.write() as session:
                message = f"Checkpoint {row.id} of step {row.step} is corrupt and is passed over: {error}"
                self._event(session, "checkpoint_corrupt", message, {"checkpoint": row.id}, "warn")
            raise _Unusable from error

    def _write(self, tensors: Tensors) -> BlobWriter:
        writer = BlobWriter(self._store, self._chunk_bytes)
        writer.write(safetensors.torch.save(tensors))
        return writer

    def _event(self, session: Any, kind: str, message: str, data: dict[str, Any], level: events.Level = "info") -> None:
        events.add(session, self._lease.job_id, kind, message, attempt=self._lease.attempt, level=level, data=data)
