"""What jobs come to when nothing happens to them: the measure of all that is done to others."""

import copy
import json
from pathlib import Path
from typing import Any

from service.settings import Settings
from service.store.engine import Store
from service.store.tables import Dataset
from tests.worker.runs import attempt, changed, outcome, put, queue

DISTURBED = changed(training={"epochs": 400, "checkpoint_seconds": 0.2, "log_every_steps": None})
"""What is trained where one thing at a time is done to a run."""

SHORT = changed(training={"epochs": 6, "log_every_steps": None})
"""What is trained where it is enough that a job comes to its turn and its end."""


class Calm:
    """Trains specifications in this very process, undisturbed, on a database of its own."""

    def __init__(self, store: Store, url: str, folder: Path, content: bytes) -> None:
        self._store, self._settings = store, Settings(database_url=url, threads_per_slot=1)
        self._dataset: Dataset = put(store, folder / "calm.csv", content)
        self._known: dict[str, Any] = {}

    def outcome(self, spec: dict[str, Any]) -> Any:
        """Return weights, metrics and measured values of a specification; it is trained once."""
        if (said := json.dumps(spec)) not in self._known:
            self._known[said] = self._train(spec)
        return self._known[said]

    def _train(self, spec: dict[str, Any]) -> Any:
        job_id = queue(self._store, self._dataset, copy.deepcopy(spec))
        job = attempt(self._store, self._settings, job_id)
        assert job.attempt == 1
        return outcome(self._store, job_id)
