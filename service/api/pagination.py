"""Lists: newest first, `limit` at a time, `after` the id of the last one seen."""

from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=1000, description="How many to return at most.")]
After = Annotated[
    str | None,
    Query(
        pattern=r"^[a-z]{2,6}_[0-9a-z]{26}$",
        description="Id of the last item of the page before; default: the first page.",
    ),
]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    object: Literal["list"] = Field("list", description='Always "list".')
    data: list[T] = Field(description="The items, newest first.")
    has_more: bool = Field(
        description="Whether there are more; ask for them with `after` set to the last id of `data`."
    )
