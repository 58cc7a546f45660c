"""A job that goes on from where another one ended: its specification, and what of it may differ."""

import copy
import hashlib
from typing import Annotated, Any

from pydantic import Field

from service.api.deps import Backend
from service.api.submission import examine
from service.blocks.base import Strict
from service.errors import InvalidInput, Problem, WrongState
from service.findings import did_you_mean
from service.spec import JobSpec
from service.store import weights
from service.store.tables import Job

CHANGEABLE = (
    "name",
    "priority",
    "optimizer.learning_rate",
    "schedule",
    "regularization.l1",
    "regularization.l2",
    "regularization.max_norm",
    "regularization.clip_norm",
    "regularization.clip_value",
    "regularization.early_stopping.patience",
    "regularization.early_stopping.min_delta",
    "training.device",
    "training.devices",
    "training.log_every_steps",
    "training.checkpoint_seconds",
)
"""Settings that a run may have changed on its way; any other would make what it has learned so far another run's."""


class ExtendRequest(Strict):
    """How much longer to train, and what to change from here on."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    """Epochs to train beyond those that are done."""
    settings: dict[str, Any] = {}
    """Settings that are to change, by their path: {"optimizer.learning_rate": 0.0001}."""


def extended(service: Backend, parent: Job, request: ExtendRequest) -> tuple[JobSpec, str]:
    """Return the specification of a job that goes on from `parent`, and the hash that names it.

    The hash takes in how the parent came about, so that nobody mistakes the run for one from the start.

    Raises:
        InvalidInput: A setting may not change, or there is none of this name; its path is `settings`.
        InvalidSpec: The specification is not valid with the changes.
        WrongState: The parent has several networks.
    """
    if parent.spec.get("replicas", 1) > 1:
        raise WrongState(
            f"Job {parent.id} has replicas, which may have ended at different epochs and cannot go on from there "
            "together: submit it anew with more epochs."
        )
    value = copy.deepcopy(parent.spec)
    value["training"]["epochs"] = parent.epoch + request.epochs
    problems = [_refused(name) for name in request.settings if name not in CHANGEABLE]
    for name, setting in request.settings.items():
        if name in CHANGEABLE and not _put(value, name.split("."), setting):
            message = "has no place in this job's specification"
            problems.append(Problem(f'settings["{name}"]', message, name, list(CHANGEABLE)))
    if problems:
        raise InvalidInput(problems)
    with service.store.read() as session:
        held = frozenset(weights.held_by(session, parent.id))
    spec = examine(service, value, held).spec
    history = f"{spec.sha256()}/{parent.spec_sha256}/{parent.epoch}"
    return spec, hashlib.sha256(history.encode()).hexdigest()


def _refused(name: str) -> Problem:
    message = "cannot change on the way" + did_you_mean(name, CHANGEABLE)
    return Problem(f'settings["{name}"]', message, name, list(CHANGEABLE))


def _put(value: dict[str, Any], steps: list[str], setting: object) -> bool:
    for step in steps[:-1]:
        inner = value.get(step)
        if not isinstance(inner, dict):
            return False
        value = inner
    value[steps[-1]] = setting
    return True
