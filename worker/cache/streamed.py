"""Data that are too large for memory: prepared once into a file of the cache, and mapped from there."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from service.data.formats import contents_sha256
from service.data.pipeline import Features, TargetCodec
from service.data.profile import ColumnProfile
from service.settings import Settings
from service.spec import JobSpec
from service.store.engine import Store
from service.store.tables import Dataset
from worker.cache.file import PAGE, Contents, Writer
from worker.cache.folder import Folder
from worker.data import columns_of, shown, stored, used_columns
from worker.preparation import prepared
from worker.rows import TrainingData

VERSION = 1
"""Changes when the same job would write another file."""
PARTS = ("train", "validation", "test")


def load_streamed(
    store: Store, dataset: Dataset, spec: JobSpec, size: int, settings: Settings, between: Callable[[], None]
) -> tuple[TrainingData, bool]:
    """Return the data of a job in a file of about `size` bytes, and whether it was written now.

    `between` is called while it is written and verified, and may raise.

    Raises:
        NotFound: The bytes are no longer there.
        CorruptBlob: They fail their SHA-256.
        InvalidSpec: The rows do not fit the spec; the problem names the column.
        CacheFailed: The disk does not keep the file.
    """
    used = used_columns(spec.data, columns_of(dataset))
    folder = Folder(settings.cache_folder, settings.cache_bytes, between)

    def fill(writer: Writer) -> dict[str, Any]:
        with stored(store, dataset, spec, folder.scratch, between) as source:
            found = prepared(source, used, spec, writer)
        for name in PARTS:
            _put(writer, name, getattr(found.parts, name))
        if found.weight is not None:
            _put(writer, "weight", found.weight)
        return {"features": found.features.to_json(), "target": found.target.to_json(), "outputs": found.outputs}

    contents, made = folder.get(key_of(dataset, used, spec), size + len(PARTS) * PAGE, fill)
    return _data(contents, used), made


def key_of(dataset: Dataset, used: Sequence[ColumnProfile], spec: JobSpec) -> str:
    """Return the name of what decides every byte of the file: the data, and what of the specification they pass."""
    sha256 = contents_sha256(dataset.sha256, dataset.format, columns_of(dataset))
    said = spec.data.model_dump(mode="json", exclude={"dataset", "augmentation"})
    seed = spec.training.seed if spec.data.split.seed is None else spec.data.split.seed
    columns = [column.model_dump(mode="json") for column in used]
    parts = [VERSION, sha256, columns, said, spec.loss.model_dump(mode="json"), seed]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _put(writer: Writer, name: str, values: NDArray[Any]) -> None:
    writer.put(name, values.shape, values.dtype, [values])


def _data(contents: Contents, columns: Sequence[ColumnProfile]) -> TrainingData:
    arrays, known = contents.arrays, contents.known
    inside = {
        # A copy: what is small is in memory, where it is not for the system to take away.
        name: torch.from_numpy(np.array(arrays[name].values))
        for name in (*PARTS, "weight")
        if name in arrays
    }
    return TrainingData(
        x=arrays["x"],
        y=arrays["y"],
        train=inside["train"],
        validation=inside["validation"],
        test=inside["test"],
        features=Features.from_json(known["features"]),
        target=TargetCodec.from_json(known["target"]),
        outputs=known["outputs"],
        columns=shown(columns),
        weight=inside.get("weight"),
    )
