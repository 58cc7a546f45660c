"""`/v1/blocks`: the language, from the classes that build it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from service.api.answers.networks import Block, Blocks
from service.api.deps import known_query
from service.api.openapi import errors
from service.catalog import catalog
from service.errors import InvalidInput

router = APIRouter(prefix="/v1/blocks", tags=["networks"], dependencies=[Depends(known_query)])


@router.get("", summary="List building blocks", responses=errors(InvalidInput))
def list_blocks(
    family: Annotated[str | None, Query(max_length=40, description="Only this family: layer, activation, loss, ...")] = None,
) -> Blocks:
    """Return every building block of the language with its JSON Schema."""
    return Blocks(data=[Block.of(block) for block in catalog() if family in (None, block.family)])
