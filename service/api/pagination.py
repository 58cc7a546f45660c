"""Lists: newest first, `limit` at a time, `after` the id of the last one seen."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from service.api.parameters import ID
from service.store import pages

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=1000, description="How many to return at most.")]


def _after(prefix: str) -> Any:
    description = "Id of the last item of the page before; default: the first page."
    return Query(pattern=f"^{prefix}_{ID}", description=description)


AfterDataset = Annotated[str | None, _after("ds")]
AfterJob = Annotated[str | None, _after("job")]
AfterCheckpoint = Annotated[str | None, _after("ckpt")]
AfterWeights = Annotated[str | None, _after("wts")]
AfterModel = Annotated[str | None, _after("mdl")]
AfterPrediction = Annotated[str | None, _after("prd")]
AfterWebhook = Annotated[str | None, _after("whk")]
AfterDelivery = Annotated[str | None, _after("dlv")]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    object: Literal["list"] = Field("list", description='Always "list".')
    data: list[T] = Field(description="The items, newest first.")
    has_more: bool = Field(
        description="Whether there are more; ask for them with `after` set to the last id of `data`."
    )

    @classmethod
    def of(cls, found: pages.Page[pages.Row], shown: Callable[[pages.Row], T]) -> "Page[T]":
        """Return the answer for a page of rows, each as it is `shown`."""
        return cls(data=[shown(row) for row in found.rows], has_more=found.has_more)
