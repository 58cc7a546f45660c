"""From the JSON of a specification to a job that can be queued, or to everything that stands in its way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from service.api.deps import Backend
from service.api.plans import Plan, build
from service.api.sources import Sources, look_up
from service.data.facts import features_of
from service.data.formats import contents_sha256
from service.data.holding import size_of
from service.data.pipeline import check_columns, input_shape_of, target_of, token_count_of
from service.data.profile import ColumnProfile, Profile
from service.errors import InvalidSpec, NotFound, Problem
from service.problems import Draft, read_draft
from service.spec import JobSpec
from service.store import datasets, jobs, queueing
from service.store.limits import QueueLimits
from service.store.tables import Dataset, Job


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
        plan = build(service.settings, spec, shape, outputs, token_count_of(spec, columns), data, sources)
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
