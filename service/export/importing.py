"""A model out of a file that `safetensors_file` describes. Whatever the file holds, it is a model or it is refused."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeVar

import safetensors
from pydantic import BaseModel, ValidationError

from service.data.pipeline import TargetCodec
from service.data.profile import ColumnProfile
from service.errors import InvalidInput, InvalidModel, MalformedRequest, Problem, TooLarge
from service.export.model_file import ModelFile
from service.export.safetensors_file import KEY, bare
from service.export.trial import HERE, check_size, try_out
from service.network import Network
from service.network.tensors import Stored, StoredTensor, inspect, kept
from service.predict.cache import LoadedModel, assembled, rebuilt
from service.problems import parse_json, problems_of, read_draft
from service.settings import Settings
from service.spec import JobSpec
from service.store.tables import Model

M = TypeVar("M")
B = TypeVar("B", bound=BaseModel)
ALLOWED = "a file of GET /v1/models/{id}/export?format=safetensors"
SHOWN = 20


@dataclass(frozen=True)
class Imported:
    """A model that was read, and where its weights lie: the bytes that were stored when it was trained."""

    file: ModelFile
    row: Model
    """What is stored of it, but for an id and the weights."""
    weights: Path


def read(path: Path, sha256: str, settings: Settings) -> Imported:
    """Return the model in a file of this hash; its weights are written beside it.

    Raises:
        InvalidModel: It is no such file, or anything in it does not fit the rest; the path says what.
        TooLarge: Its metadata are larger than the settings allow JSON to be.
    """
    file = _described(path, settings.max_json_bytes)
    spec = _spec(file)
    _check_members(file, spec)
    weights = path.with_name(f"{path.name}.weights")
    bare(path, weights)
    tensors = _as_model(lambda: inspect(weights))
    with weights.open("rb") as stream:
        found = file_digest(stream, "sha256").hexdigest()
    if found != file.weights_sha256:
        message = "is not the hash of the tensors in the file: one of them was changed"
        raise InvalidModel([Problem(f"{HERE}.weights_sha256", message, file.weights_sha256, found)])
    row = _row(file, spec, sha256)
    row.parameters = settings.max_parameters
    loaded = _loaded(row, tensors, weights, settings)
    try_out(loaded, row)
    row.parameters = loaded.monte_carlo.network.parameter_count
    return Imported(file, row, weights)


def _row(file: ModelFile, spec: JobSpec, sha256: str) -> Model:
    came = {"model": file.model, "job": file.job, "file_sha256": sha256}
    target = file.preprocessing.target
    codec = TargetCodec.from_json(target.model_dump())
    classes = list(codec.labels) if target.task == "multi_label" else target.classes
    return Model(
        id=file.model,
        job=None,
        spec=spec.canonical(),
        members=file.members,
        task=target.task,
        classes=classes,
        columns=[profile.model_dump(mode="json") for profile in file.profiles()],
        preprocessing=file.preprocessing.model_dump(mode="json"),
        metrics=file.metrics,
        calibration=None if file.calibration is None else file.calibration.model_dump(mode="json"),
        receipt={**file.receipt.model_dump(mode="json", exclude_unset=True), "imported": came},
    )


def _described(path: Path, most: int) -> ModelFile:
    """Return what the metadata say."""
    _as_model(lambda: inspect(path))
    with safetensors.safe_open(path, framework="pt") as opened:
        text = (opened.metadata() or {}).get(KEY)
    if text is None:
        message = "is missing: these are tensors alone, which POST /v1/weights takes"
        raise InvalidModel([Problem(HERE, message, None, ALLOWED)])
    if len(text) > most:
        raise TooLarge(f"The metadata of the file are larger than the {most:,} bytes of JSON that are accepted here.")
    try:
        value = parse_json(text.encode())
    except MalformedRequest as error:
        raise InvalidModel([Problem(HERE, f"is no JSON: {error.message}", None, ALLOWED)]) from error
    return _valid(ModelFile, value, HERE)


def _valid(model: type[B], value: object, place: str) -> B:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidModel(_below(problems_of(error, value, model=model), place)) from error


def _below(problems: Iterable[Problem], place: str) -> list[Problem]:
    return [Problem(".".join(filter(None, (place, p.path))), p.message, p.got, p.allowed) for p in problems]


def _as_model(read: Callable[[], M], place: str = "") -> M:
    """Return what is read; what is wrong with it is wrong with the model."""
    try:
        return read()
    except InvalidInput as error:
        raise InvalidModel(_below(error.problems, place)) from error


def _spec(file: ModelFile) -> JobSpec:
    draft = read_draft(file.spec)
    if draft.spec is None:
        raise InvalidModel(_below(draft.problems, f"{HERE}.spec"))
    _check_features(file, draft.spec)
    return draft.spec


def _check_features(file: ModelFile, spec: JobSpec) -> None:
    """See that columns, steps and target are those of the specification."""
    features, target = file.preprocessing.features, file.preprocessing.target
    place = f"{HERE}.preprocessing"
    profiles = [_valid(ColumnProfile, column, f"{HERE}.columns[{i}]") for i, column in enumerate(file.columns)]
    read = [_valid(ColumnProfile, c, f"{place}.features.columns[{i}]") for i, c in enumerate(features.columns)]
    names, inputs = [profile.name for profile in profiles], [column.name for column in read]
    types = {profile.name: (profile.type, profile.shape) for profile in profiles}
    steps = [item.step for item in features.steps]
    wrong = {
        f"{HERE}.columns": ("name a column twice", len(set(names)) < len(names)),
        f"{place}.features.columns": (
            "are not those of the model's columns",
            len(set(inputs)) < len(inputs) or any(types.get(c.name) != (c.type, c.shape) for c in read),
        ),
        f"{place}.features.layout": ("is not that of the specification", features.layout != spec.data.image_layout),
        f"{place}.features.steps": ("are not those of the specification", steps != list(spec.data.preprocessing)),
        f"{place}.input_shape": ("is not that of the features", file.preprocessing.input_shape != features.input_shape),
        f"{place}.target.names": (
            "are not those of the specification",
            target.names != list(spec.data.targets) or not set(target.names) <= set(names) - set(inputs),
        ),
        f"{place}.target.task": ("is not that of the loss", target.task != spec.loss.task),
        f"{place}.target.classes": ("do not suit the task", not _suit(target.classes, target.task)),
        f"{place}.target.scale": ("is not as long as shift", len(target.scale) != len(target.shift)),
    }
    problems = [Problem(path, message) for path, (message, is_wrong) in wrong.items() if is_wrong]
    for i, item in enumerate(features.steps):
        _valid(item.step.learned, item.state, f"{place}.features.steps[{i}].state")
    if problems:
        raise InvalidModel(problems)


def _suit(classes: list[Any] | None, task: str) -> bool:
    if task != "classification":
        return classes is None
    return classes is not None and 2 <= len(set(map(str, classes))) == len(classes)


def _loaded(row: Model, tensors: Stored, weights: Path, settings: Settings) -> LoadedModel:
    """Build the network and give it the tensors, having seen that they are its own and that there is room for it."""
    spec, _, network = _as_model(lambda: rebuilt(row), f"{HERE}.spec")
    _check_tensors(network, tensors, row.members)
    check_size(row, spec, network, settings)
    return assembled(row, weights.read_bytes())


def _check_members(file: ModelFile, spec: JobSpec) -> None:
    """See that it is an ensemble where replicas were trained; some of them may have been left out."""
    if spec.replicas == 1 and file.members is not None:
        message = "is for ensembles, and the specification trains one network"
        raise InvalidModel([Problem(f"{HERE}.members", message, file.members, None)])
    if spec.replicas > 1 and not 1 <= (file.members or 0) <= spec.replicas:
        message = f"is not what the {spec.replicas} replicas of the specification can leave"
        raise InvalidModel([Problem(f"{HERE}.members", message, file.members, {"ge": 1, "le": spec.replicas})])


def _check_tensors(network: Network, tensors: Stored, members: int | None) -> None:
    own = kept(network, members)
    problems = [
        Problem(f"tensors.{name}", "is missing" if name not in tensors else "is no tensor of this network", None, None)
        for name in sorted(own.keys() ^ tensors.keys())
    ]
    problems += [
        Problem(f"tensors.{name}", "does not fit the network", _shown(tensors[name]), _shown(own[name]))
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name] != own[name]
    ]
    if problems:
        raise InvalidModel(problems[:SHOWN])


def _shown(tensor: StoredTensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
