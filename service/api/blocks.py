"""`/v1/blocks`: the language, from the classes that build it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from service.api.answers.networks import Block, Blocks
from service.api.deps import known_query
from service.api.openapi import errors
from service.catalog import FAMILIES, catalog
from service.errors import InvalidInput, Problem

FAMILY_NAMES = [family.family for family in FAMILIES]

router = APIRouter(prefix="/v1/blocks", tags=["networks"], dependencies=[Depends(known_query)])

Family = Annotated[
    str | None, Query(description="Only this family.", json_schema_extra={"anyOf": [{"enum": FAMILY_NAMES}]})
]


@router.get("", summary="List building blocks", responses=errors(InvalidInput))
def list_blocks(family: Family = None) -> Blocks:
    """Return every building block of the language with its JSON Schema."""
    if family is not None and family not in FAMILY_NAMES:
        raise InvalidInput([Problem("family", "there is no such family", family, FAMILY_NAMES)])
    return Blocks(data=[Block.of(block) for block in catalog() if family in (None, block.family)])
