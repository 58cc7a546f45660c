"""The card of a model: what it is, what it was made of, how good it is, and what it must not be used for."""

from typing import Literal, Self

from service.api.answers.base import Answer, Count, JsonObject, Sha256, Time
from service.api.answers.models import without_scores
from service.data.profile import ColumnProfile, key_of
from service.export.limits import Facts, limits_of
from service.predict.cache import rebuilt
from service.store import tables


class CardLayer(Answer):
    """A layer of the network."""

    name: str
    """Its name."""
    type: str
    """Its block."""
    output_shape: list[int]
    """Shape of what it gives for a row."""


class CardNetwork(Answer):
    """A network, and the training that it had."""

    layers: list[CardLayer]
    """The layers, first to last."""
    members: Count
    """Networks that answer together: 1, or those of a deep ensemble."""
    parameters: Count
    """Numbers in the weights of one network."""
    stochastic_layers: list[str]
    """The layers that Monte-Carlo predictions draw."""
    loss: str
    """What training made small."""
    optimizer: str
    """The rule that moved the weights."""
    preprocessing: list[str]
    """The steps from raw columns to numbers."""
    spec_sha256: Sha256 | None
    """Hash of the whole specification."""


class CardColumn(Answer):
    """A column, and what it held."""

    name: str
    """Its name."""
    type: str
    """What it holds: integer, number, boolean, category or tensor."""
    role: Literal["feature", "target"]
    """Whether the model reads it or predicts it."""
    missing: Count
    """Rows of the data set without a value."""
    min: float | None
    """Least number."""
    max: float | None
    """Largest number."""
    values: list[str] | None
    """The values, where there were few."""


class CardData(Answer):
    """The data that a model has seen."""

    sha256: Sha256 | None
    """Hash of the contents."""
    dataset: str
    """Id that the data set had."""
    rows: dict[str, int]
    """How many rows trained, validated and tested."""
    columns: list[CardColumn]
    """The columns that it reads and predicts, with what the data set held."""


class CardLimit(Answer):
    """Something that the model cannot be trusted with."""

    code: str
    """Stable name of the limit."""
    message: str
    """The limit in a sentence."""


class ModelCard(Answer):
    """What a model is, what it was made of, how good it is, and what it must not be used for."""

    object: Literal["model_card"] = "model_card"
    """Always "model_card"."""
    model: str
    """Id of the model."""
    name: str | None
    """Name for people."""
    job: str | None
    """Id of the job that trained it; null: it was imported."""
    task: str
    """What it predicts: classification, multi_label or regression."""
    classes: list[str] | None
    """The classes or labels; null for regression."""
    created_at: Time
    """When its training ended, or when it was imported."""
    weights_sha256: Sha256
    """Hash of the weights."""
    network: CardNetwork
    """What was trained, and how."""
    data: CardData
    """What it was trained on."""
    metrics: JsonObject
    """What was measured with the final weights, by split and name."""
    calibration: JsonObject | None
    """What validation rows taught of its confidences, with figures before and after; null: there were no such rows."""
    limits: list[CardLimit]
    """What it must not be used for, as far as that follows from facts."""
    versions: dict[str, str]
    """Versions of what trained it."""
    receipt: JsonObject
    """What it came from: hashes, seed, device, time."""

    @classmethod
    def of(cls, row: tables.Model) -> Self:
        """Return the card for a model's row."""
        spec, features, network = rebuilt(row)
        profiles = {c.name: c for c in map(ColumnProfile.model_validate, row.columns)}
        facts = Facts(row, spec, features, profiles, network.stochastic_layers)
        layers = [CardLayer(name=r.name, type=r.layer.type, output_shape=list(r.output_shape)) for r in network.records]
        return cls(
            model=row.id,
            name=row.name,
            job=row.job,
            task=row.task,
            classes=None if row.classes is None else [key_of(value) for value in row.classes],
            created_at=row.created_at,
            weights_sha256=row.weights_sha256,
            network=CardNetwork(
                layers=layers,
                members=row.members or 1,
                parameters=row.parameters,
                stochastic_layers=network.stochastic_layers,
                loss=spec.loss.type,
                optimizer=spec.optimizer.type,
                preprocessing=[step.type for step in spec.data.preprocessing],
                spec_sha256=row.receipt.get("spec_sha256"),
            ),
            data=CardData(
                sha256=row.receipt.get("data_sha256"),
                dataset=spec.data.dataset,
                rows=row.receipt.get("rows") or {},
                columns=[_column(c, "feature") for c in facts.inputs] + [_column(c, "target") for c in facts.targets],
            ),
            metrics=row.metrics,
            calibration=without_scores(row.calibration),
            limits=[CardLimit(code=limit.code, message=limit.message) for limit in limits_of(facts)],
            versions=row.receipt.get("versions") or {},
            receipt=row.receipt,
        )


def _column(column: ColumnProfile, role: Literal["feature", "target"]) -> CardColumn:
    values = None if column.categories is None else [key_of(value) for value in column.values or ()]
    return CardColumn(
        name=column.name,
        type=column.type,
        role=role,
        missing=column.missing,
        min=column.min,
        max=column.max,
        values=values if column.type in ("category", "boolean") or role == "target" else None,
    )
