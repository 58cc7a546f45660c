"""What is known of the data behind a specification: from the profile of the data set, without a row read."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TypeVar

from service.blocks.imputation import Impute
from service.blocks.preprocessing import Preprocessing
from service.data.facts import facts_of, features_of
from service.data.frame import Facts
from service.data.profile import ColumnProfile, Profile
from service.spec import JobSpec

P = TypeVar("P", bound=Preprocessing)


@dataclass(frozen=True)
class Known:
    """The data of a specification; without a profile every answer is "not known": None, or nothing."""

    spec: JobSpec
    profile: Profile | None

    @cached_property
    def features(self) -> list[ColumnProfile]:
        """The feature columns."""
        return features_of(self.spec.data, self.profile.columns) if self.profile is not None else []

    @cached_property
    def targets(self) -> list[ColumnProfile]:
        """The target columns."""
        columns = self.profile.columns if self.profile is not None else []
        return [column for column in columns if column.name in self.spec.data.targets]

    @property
    def training_rows(self) -> int | None:
        """About how many rows train."""
        return self._rows_of("train")

    @property
    def validation_rows(self) -> int | None:
        """About how many rows validate."""
        return self._rows_of("validation")

    @property
    def steps(self) -> int | None:
        """About how many steps the training takes."""
        rows, training = self.training_rows, self.spec.training
        if rows is None:
            return None
        batches = ceil(rows / max(1, training.rows_of_batch(rows)))
        return training.epochs * ceil(batches / training.accumulate)

    def _rows_of(self, part: str) -> int | None:
        if self.profile is None:
            return None
        split = self.spec.data.split
        share = {"train": 1.0 - split.validation - split.test, "validation": split.validation}[part]
        if split.column is None:
            return round(self.profile.rows * share)
        said = next((column for column in self.profile.columns if column.name == split.column), None)
        counts = {item.value: item.count for item in (said.categories if said is not None else None) or ()}
        return round(counts.get("train", 0) * share) + (counts.get(part, 0) if part != "train" else 0)

    @property
    def class_counts(self) -> list[int]:
        """Rows of each class, the most frequent first; nothing where there are no classes, or not known."""
        if self.spec.loss.task != "classification" or not self.targets:
            return []
        return sorted((item.count for item in self.targets[0].categories or ()), reverse=True)

    def stages(self, *kinds: type[P]) -> Iterator[tuple[str, P, Facts]]:
        """Return the steps of these kinds, with their paths and the facts of the columns as they reach them."""
        facts = facts_of(self.features, self.spec.data.image_layout)
        for index, step in enumerate(self.spec.data.preprocessing):
            if isinstance(step, kinds):
                yield f"data.preprocessing[{index}]", step, facts
            facts = step.plan(facts)

    def raw(self, *kinds: type[P]) -> Iterator[tuple[str, P, ColumnProfile]]:
        """Return the steps of these kinds with each column that reaches them as it is in the file."""
        by_name = {column.name: column for column in self.features}
        facts, touched = facts_of(self.features, self.spec.data.image_layout), set[str]()
        for index, step in enumerate(self.spec.data.preprocessing):
            chosen = step.chosen(facts)
            if isinstance(step, kinds):
                fresh = [by_name[name] for name in chosen if name in by_name and name not in touched]
                yield from ((f"data.preprocessing[{index}]", step, column) for column in fresh)
            touched.update(() if isinstance(step, Impute) else chosen)
            facts = step.plan(facts)
