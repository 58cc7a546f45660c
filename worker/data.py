"""A stored data set to tensors: read, divided, fitted on the training rows, ready to be indexed in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.blocks.base import Shape
from service.data.facts import features_of
from service.data.formats import read_frame
from service.data.frame import Frame, take
from service.data.pipeline import Features, TargetCodec
from service.data.profile import ColumnProfile
from service.errors import InvalidInput, InvalidSpec, Problem
from service.spec import DataSpec, JobSpec
from service.store.blobs import read_blob
from service.store.engine import Store
from service.store.tables import Dataset
from worker.split import divide
from worker.weights import weights_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows: `x` [rows, *input], `y` [rows] or [rows, columns], `weight` [rows] what each counts in the loss.

    Rows that are mixed with others have those' targets, `y_other`, and what they count, `weight_other`, besides.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None
    y_other: Tensor | None = None
    weight_other: Tensor | None = None

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self.y.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> "Batch":
        """Return some of the rows."""
        rest = (None if t is None else t[rows] for t in (self.weight, self.y_other, self.weight_other))
        return Batch(self.x[rows], self.y[rows], *rest)

    def parts(self) -> list[Tensor]:
        """Return the tensors that there are, in the order of the fields."""
        return [t for t in (self.x, self.y, self.weight, self.y_other, self.weight_other) if t is not None]

    def split(self, rows: int) -> Iterator["Batch"]:
        """Yield all of it in pieces of so many rows, the last one of those that are left."""
        return (Batch(*pieces) for pieces in zip(*(torch.split(part, rows) for part in self.parts()), strict=True))


@dataclass(frozen=True)
class TrainingData:
    """All rows as tensors on one device, and which of them train, validate and test.

    `x` float32 [rows, *input_shape]; `y` int64 [rows] or float32 [rows, columns]; the index tensors int64, ascending.
    `columns` are the profiles of the features and the target as answers show them.
    """

    x: Tensor
    y: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    features: Features
    target: TargetCodec
    outputs: int
    columns: list[dict[str, Any]]
    weight: Tensor | None = None
    """What each row counts in the loss, float32 [rows]; None: all alike."""

    @property
    def input_shape(self) -> Shape:
        """Shape of a row as the network sees it."""
        return self.features.input_shape

    @property
    def vocabulary(self) -> int | None:
        """How many token ids there are, where rows hold such."""
        return self.features.vocabulary

    @property
    def classes(self) -> list[Any] | None:
        """The classes, or the labels, that predictions name; None for numbers."""
        if self.target.task == "multi_label":
            return list(self.target.labels)
        return None if self.target.classes is None else list(self.target.classes)

    def rows(self, index: Tensor) -> Batch:
        """Return the rows at `index`."""
        return Batch(self.x, self.y, self.weight)[index]

    def to(self, device: torch.device | str) -> "TrainingData":
        """Return the same data with its tensors on the device."""
        names = ("x", "y", "train", "validation", "test")
        weight = None if self.weight is None else self.weight.to(device)
        return replace(self, weight=weight, **{name: getattr(self, name).to(device) for name in names})

    def preprocessing(self) -> dict[str, Any]:
        """Return, as JSON values, what a model needs to read raw rows and to answer in the target's own units."""
        return {
            "features": self.features.to_json(),
            "target": self.target.to_json(),
            "input_shape": list(self.input_shape),
            "outputs": self.outputs,
        }


def load(store: Store, dataset: Dataset, spec: JobSpec) -> TrainingData:
    """Read a data set from the store and prepare it as the job asks.

    Raises:
        NotFound: The bytes are no longer there.
        CorruptBlob: They fail their SHA-256.
        InvalidSpec: The rows do not fit the spec; the problem names the column.
    """
    columns = [ColumnProfile.model_validate(column) for column in dataset.columns]
    used = used_columns(spec.data, columns)
    wanted = list(dict.fromkeys([*(column.name for column in used), *spec.data.set_aside]))
    frame = read_frame(read_blob(store, dataset.sha256), dataset.format, columns, wanted)
    return prepare(frame, used, spec)


def used_columns(data: DataSpec, columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """Return the feature columns, and behind them the target's.

    Raises:
        InvalidSpec: There is no column of such a name.
    """
    by_name = {column.name: column for column in columns}
    unknown = [name for name in (*data.targets, *(data.features or ()), *data.set_aside) if name not in by_name]
    if unknown:
        raise InvalidSpec([Problem("data", f"the data set has no column {name!r}", name) for name in unknown])
    return [*features_of(data, columns), *(by_name[name] for name in data.targets)]


def prepare(frame: Frame, columns: Sequence[ColumnProfile], spec: JobSpec) -> TrainingData:
    """Divide the rows, fit everything on the training rows only, and make tensors of all.

    Raises:
        InvalidSpec: The rows do not fit the spec; the problem names the column.
    """
    data, task = spec.data, spec.loss.task
    if task != "regression":
        # The classes are the data set's, so they are there before the rows are divided, and can guide it.
        target = TargetCodec.fit(data, task, columns, frame)
        y = target.encode(frame)
        parts = divide(spec, frame, y if task == "classification" else None)
    else:
        parts = divide(spec, frame)
        target = TargetCodec.fit(data, task, columns, take(frame, parts.train))
        y = target.encode(frame)
    if task == "regression" and (why := spec.loss.refusal(y)):
        raise InvalidSpec([Problem("data.target", f"the target {why}", got=data.target)])
    features = Features.fit(data, columns, take(frame, parts.train) if data.preprocessing else frame)
    return TrainingData(
        x=torch.from_numpy(_transformed(features, frame)),
        y=torch.from_numpy(y),
        train=torch.from_numpy(parts.train),
        validation=torch.from_numpy(parts.validation),
        test=torch.from_numpy(parts.test),
        features=features,
        target=target,
        outputs=_outputs(spec, target),
        weight=weights_of(spec, frame, target, y, parts.train),
        columns=[column.shown().model_dump(mode="json") for column in columns],
    )


def _transformed(features: Features, frame: Frame) -> NDArray[np.float32]:
    try:
        return features.transform(frame)
    except InvalidInput as error:
        # What a row of a request did wrong is here a column of the data set that should be left out.
        raise InvalidSpec([replace(problem, path="data.features") for problem in error.problems]) from error


def _outputs(spec: JobSpec, target: TargetCodec) -> int:
    try:
        return spec.loss.outputs(target.target)
    except ValueError as error:
        raise InvalidSpec([Problem("loss", str(error), got=spec.loss.type)]) from error
