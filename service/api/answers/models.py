"""Answers about trained models."""

from typing import Any, Literal, Self

from service.api.answers.base import Answer, Count, JsonObject, Sha256, Time
from service.store import tables


class Model(Answer):
    """A trained network with everything needed to answer raw rows."""

    id: str
    """Id of the model."""
    object: Literal["model"] = "model"
    """Always "model"."""
    job: str | None
    """Id of the job that trained it; null: it was imported."""
    name: str | None
    """Name for people, as the job had it."""
    task: Literal["classification", "multi_label", "regression"]
    """What it predicts: a class, labels that may hold together, or numbers."""
    classes: list[Any] | None
    """The classes or labels, in the order of the outputs; null for regression."""
    columns: list[JsonObject]
    """The columns that a row to predict has, in the order of rows given as arrays."""
    targets: list[str]
    """The columns that it predicts."""
    metrics: JsonObject
    """What was measured with the final weights, by split and name."""
    calibration: JsonObject | None
    """What validation rows taught of its confidences: temperature or noise, and how good these were before and after,
    at a coverage of `level`; null: there were no such rows."""
    members: Count
    """Networks that it predicts with together, whose weights are stacked; more than 1: a deep ensemble."""
    parameters: Count
    """Numbers in the weights of one network, those included that were frozen."""
    size: Count
    """Bytes of the weights."""
    weights_sha256: Sha256
    """Hash of the weights (safetensors); the same specification, data and seed give the same."""
    spec: JsonObject
    """The specification that it was trained by."""
    receipt: JsonObject
    """What it came from: hashes, seed, versions, device."""
    created_at: Time
    """When its training ended, or when it was imported."""

    @classmethod
    def of(cls, row: tables.Model) -> Self:
        """Return the answer for a model's row."""
        target = row.spec["data"]["target"]
        targets = [target] if isinstance(target, str) else target
        return cls(
            id=row.id,
            job=row.job,
            name=row.name,
            task=row.task,  # type: ignore[arg-type]  # written from the same names
            classes=row.classes,
            columns=[column for column in row.columns if column["name"] not in targets],
            targets=targets,
            metrics=row.metrics,
            calibration=without_scores(row.calibration),
            members=row.members or 1,
            parameters=row.parameters,
            size=row.size,
            weights_sha256=row.weights_sha256,
            spec=row.spec,
            receipt=row.receipt,
            created_at=row.created_at,
        )


def without_scores(calibration: JsonObject | None) -> JsonObject | None:
    """Return what was fitted, single numbers as such, without the long lists that predictions look things up in."""
    if calibration is None:
        return None
    shown = {name: value for name, value in calibration.items() if name not in ("conformal", "doubts")}
    return {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in shown.items()}
