"""Aliases: `PUT /v1/models/{id}/aliases/{alias}` lets a name lead to a model, and `/v1/aliases` lists the names."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from service.api.answers.aliases import Alias, Aliases
from service.api.deps import Service, known_query
from service.api.openapi import errors
from service.api.pagination import Limit
from service.api.parameters import ALIAS, PART, ModelReference
from service.errors import InvalidInput, NotFound, Problem
from service.store import aliases, tables

router = APIRouter(prefix="/v1", tags=["models"], dependencies=[Depends(known_query)])
Name = Annotated[
    str,
    Path(
        pattern=rf"^({PART}{{1,200}}@)?{PART}{{1,64}}$",
        description="The alias: whole, NAME@ALIAS, or the part behind the @, where the model's own name goes before.",
    ),
]
After = Annotated[
    str | None, Query(pattern=ALIAS, description="Name of the last alias of the page before; default: the first page.")
]


@router.get("/aliases", summary="List aliases", responses=errors(InvalidInput))
def list_aliases(service: Service, limit: Limit = 20, after: After = None) -> Aliases:
    """Return the aliases of all models, by name."""
    with service.store.read() as session:
        page = aliases.list_page(session, limit, after)
        return Aliases(data=[Alias.of(row) for row in page.rows], has_more=page.has_more)


@router.get(
    "/models/{model_id}/aliases", summary="List the aliases of a model", responses=errors(NotFound, InvalidInput)
)
def list_model_aliases(service: Service, model_id: ModelReference, limit: Limit = 20, after: After = None) -> Aliases:
    """Return the aliases that lead to one model, by name."""
    with service.store.read() as session:
        page = aliases.list_page(session, limit, after, aliases.model(session, model_id).id)
        return Aliases(data=[Alias.of(row) for row in page.rows], has_more=page.has_more)


@router.put(
    "/models/{model_id}/aliases/{alias}",
    summary="Let an alias lead to a model",
    responses=errors(NotFound, InvalidInput),
)
def put_alias(service: Service, model_id: ModelReference, alias: Name) -> Alias:
    """Let a name lead to a model, whatever it led to before; asking again changes nothing.

    The switch is atomic: every request is answered by the old model or by the new one, and every request that comes
    after this answer by the new one.
    """
    with service.store.begin() as session:
        model = aliases.model(session, model_id)
        return Alias.of(aliases.put(session, _whole(model, alias), model.id))


@router.delete(
    "/models/{model_id}/aliases/{alias}",
    status_code=204,
    summary="Delete an alias",
    responses=errors(NotFound, InvalidInput),
)
def delete_alias(service: Service, model_id: ModelReference, alias: Name) -> None:
    """Delete an alias of this model; the model stays."""
    with service.store.begin() as session:
        model = aliases.model(session, model_id)
        name = _whole(model, alias)
        if aliases.get(session, name).model != model.id:
            raise NotFound(f"The alias {name} leads to another model than {model.id}.")
        aliases.delete(session, name)


def _whole(model: tables.Model, alias: str) -> str:
    """Return the whole name of an alias that may have been given without the part before the @.

    Raises:
        InvalidInput: The model has no name that could go before it.
    """
    if aliases.is_alias(alias):
        return alias
    if model.name is None or not re.fullmatch(rf"{PART}+", model.name):
        message = "the model has no name that could go before it: give the alias whole"
        raise InvalidInput([Problem("alias", message, alias, "NAME@ALIAS")])
    return f"{model.name}{aliases.SEPARATOR}{alias}"
