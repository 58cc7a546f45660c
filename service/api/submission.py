"""From the JSON of a specification to a job that can be queued, or to everything that stands in its way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from sqlalchemy.orm import Session

from service.api.deps import Backend
from service.api.sources import Sources, look_up
from service.blocks.base import Shape
from service.data.facts import features_of
from service.data.formats import contents_sha256
from service.data.holding import size_of
from service.data.pipeline import check_columns, check_shape, input_shape_of, target_of, token_count_of
from service.data.profile import ColumnProfile, Profile
from service.errors import InvalidSpec, NotFound, Problem
from service.memory import NO_DATA, DataSize, TrainingMemory, job_memory, room_of, rows_of_batch
from service.network import META, Network, build_network
from service.network.beliefs import belief_stack
from service.network.fitting import fit
from service.problems import Draft, read_draft
from service.spec import JobSpec
from service.store import datasets, jobs, queueing
from service.store.limits import QueueLimits
from service.store.tables import Dataset, Job


@dataclass(frozen=True)
class Plan:
    """A specification, the network that it describes, on the meta device, and what training it takes."""

    spec: JobSpec
    network: Network
    input_shape: Shape
    outputs: int
    memory: TrainingMemory
    batch_rows: int


@dataclass(frozen=True)
class Submission(Plan):
    """A plan that fits its data."""

    dataset: Dataset

    @property
    def profile(self) -> Profile:
        """What is known of the data set."""
        columns = [ColumnProfile.model_validate(column) for column in self.dataset.columns]
        return Profile(rows=self.dataset.rows, columns=columns, format=self.dataset.format)

    @property
    def identity(self) -> tuple[str, str, int]:
        """Specification hash, data hash and seed: the same three give the same weights."""
        data_sha256 = contents_sha256(self.dataset.sha256, self.dataset.format, self.profile.columns)
        return self.spec.sha256(), data_sha256, self.spec.training.seed


def examine(service: Backend, value: object, held: frozenset[str] = frozenset()) -> Submission:
    """Return what the JSON value of a specification asks for.

    Weights whose hashes are `held` need no source any more: a job has begun with them.

    Raises:
        InvalidSpec: With every problem that can be found, of the form, of the columns and of the shapes.
    """
    draft = read_draft(value)
    if draft.readable is None:
        raise InvalidSpec(draft.problems)
    draft, sources = _with_sources(service, draft, held)
    problems, submission = list(draft.problems), None
    try:
        submission = _fit(service, draft, sources)
    except InvalidSpec as error:
        problems += _more(error, problems)
    if problems or submission is None:
        raise InvalidSpec(problems)
    return submission


def _more(error: InvalidSpec, known: Sequence[Problem]) -> list[Problem]:
    """Return the problems at places of which none is known."""
    paths = {problem.path for problem in known}
    return [problem for problem in error.problems if problem.path not in paths]


def _with_sources(service: Backend, draft: Draft, held: frozenset[str]) -> tuple[Draft, Sources]:
    """Return the draft with what its pretrained blocks start from; where that is wrong, its network is broken."""
    if draft.readable is None or not draft.sound("network"):
        return draft, {}
    try:
        spec, sources = look_up(service.store, draft.readable, held)
    except InvalidSpec as error:
        problems = (*draft.problems, *_more(error, draft.problems))
        return replace(draft, problems=problems, broken=draft.broken | {"network"}), {}
    return replace(draft, readable=spec), sources


def _fit(service: Backend, draft: Draft, sources: Sources) -> Submission | None:
    """Hold what is sound of a specification against its data; None where too little is sound to build it."""
    spec = draft.readable
    assert spec is not None
    if not draft.sound("data.dataset"):
        return None
    dataset = find_dataset(service, spec.data.dataset)
    columns = [ColumnProfile.model_validate(column) for column in dataset.columns]
    found = check_columns(spec, columns, dataset.rows)
    if found:
        raise InvalidSpec(draft.trusted(found, [column.name for column in columns]))
    if not draft.sound("network", "pretrain", "regularization", "loss", "data"):
        return None
    shape, outputs = input_shape_of(spec, columns), spec.loss.outputs(target_of(spec, columns))
    try:
        data = size_of(spec, columns, shape, dataset.rows)
        plan = build(service, spec, shape, outputs, token_count_of(spec, columns), data, sources)
    except InvalidSpec as error:
        hint = _layout_hint(spec, columns)
        hinted = [replace(p, message=p.message + hint) if p.got == list(shape) else p for p in error.problems]
        raise InvalidSpec(hinted) from error
    return Submission(**vars(plan), dataset=dataset)


def _layout_hint(spec: JobSpec, columns: Sequence[ColumnProfile]) -> str:
    """Return how to keep a sequence one, where it may have been taken for images."""
    tensors = [column for column in features_of(spec.data, columns) if len(column.shape or ()) == 2]
    if spec.data.image_layout != "auto" or not tensors:
        return ""
    length, features = tensors[0].shape or ()
    return (
        f"; column {tensors[0].name!r} was taken for images of one channel: if its rows are sequences "
        f'[{length}, {features}] of [length, features], say "image_layout": "none" in data, or "channels_last" '
        "where layers take [channels, length]"
    )


def build(
    service: Backend,
    spec: JobSpec,
    shape: Shape,
    outputs: int,
    vocabulary: int | None = None,
    data: DataSize = NO_DATA,
    sources: Sources | None = None,
) -> Plan:
    """Build the network on the meta device, and see that stored tensors fit it.

    Raises:
        InvalidSpec: A layer, an augmentation or mixing cannot take what arrives, a pretrained block not its tensors,
            or it is too large to train here.
    """
    refused = check_shape(spec, shape)
    try:
        limit = service.settings.max_parameters
        network = build_network(spec.network, spec.regularization, shape, outputs, limit, vocabulary)
        if spec.pretrain is not None:
            belief_stack(spec.network, network)
        for record in network.records:
            if sources and record.path in sources:
                fit(record, sources[record.path])
    except InvalidSpec as error:
        raise InvalidSpec([*refused, *error.problems]) from error
    if refused:
        raise InvalidSpec(refused)
    return _affordable(service, spec, network, shape, outputs, data)


def _affordable(service: Backend, spec: JobSpec, network: Network, shape: Shape, outputs: int, data: DataSize) -> Plan:
    batch, room = rows_of_batch(spec, data.rows), room_of(service.settings)
    memory = job_memory(network, spec, data, batch, room)
    problem = memory.problem(spec, batch, room) or _lonely(spec, network, batch)
    if problem is not None:
        raise InvalidSpec([problem])
    return Plan(spec, network, shape, outputs, memory, batch)


def _lonely(spec: JobSpec, network: Network, batch: int) -> Problem | None:
    """Return what is wrong with batches of one row: of one number a channel there is no variance."""
    if batch > 1 or not network.has_batch_norm:
        return None
    network.train()
    try:
        with torch.no_grad():
            network(torch.empty(1, *network.records[0].input_shape, device=META))
    except ValueError:
        message = "batch_norm behind a vector needs batches of at least 2 rows: one row has no variance"
        return Problem("training.batch_size", message, spec.training.batch_size, 'at least 2, or "layer_norm"')
    finally:
        network.eval()
    return None


def find_dataset(service: Backend, dataset_id: str) -> Dataset:
    """Return the data set of a specification.

    Raises:
        InvalidSpec: There is none with this id.
    """
    try:
        with service.store.read() as session:
            return datasets.get(session, dataset_id)
    except NotFound as error:
        problem = Problem(
            "data.dataset", "there is no data set with this id", dataset_id, "the id of an uploaded data set"
        )
        raise InvalidSpec([problem]) from error


def queue(session: Session, submission: Submission, submitter: str, limits: QueueLimits) -> Job:
    """Add the job to the queue.

    Raises:
        NotFound: The data set, or weights to start from, were deleted meanwhile.
        QueueFull: As many jobs wait as the limits allow.
    """
    spec = submission.spec
    queueing.admit(session, submitter, limits)
    datasets.hold(session, spec.data.dataset)
    spec_sha256, data_sha256, seed = submission.identity
    return jobs.insert(
        session,
        name=spec.name,
        spec=spec.canonical(),
        spec_sha256=spec_sha256,
        dataset=submission.dataset.id,
        data_sha256=data_sha256,
        seed=seed,
        submitter=submitter,
        priority=spec.priority,
        device=spec.training.placement,
        total_epochs=spec.training.epochs,
        starts_from=spec.starts_from,
    )
