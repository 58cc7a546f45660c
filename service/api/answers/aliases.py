"""Answers about aliases."""

from typing import Literal, Self

from pydantic import Field

from service.api.answers.base import Answer, Time
from service.api.pagination import Page
from service.store import alias_tables


class Alias(Answer):
    """A name that leads to a model, wherever the id of a model is asked for."""

    object: Literal["alias"] = "alias"
    """Always "alias"."""
    name: str
    """The whole name, NAME@ALIAS: what stands in the place of a model's id."""
    model: str
    """Id of the model that it leads to."""
    created_at: Time
    """When there was first such an alias."""
    updated_at: Time
    """When it was last made to lead to a model."""

    @classmethod
    def of(cls, row: alias_tables.Alias) -> Self:
        """Return the answer for an alias's row."""
        return cls(name=row.name, model=row.model, created_at=row.created_at, updated_at=row.updated_at)


class Aliases(Page[Alias]):
    """One page of aliases."""

    data: list[Alias] = Field(description="The aliases, in the order of their names.")
    has_more: bool = Field(description="Whether there are more; ask for them with `after` set to the last name.")
