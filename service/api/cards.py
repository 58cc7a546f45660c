"""`GET /v1/models/{id}/card`: what a model is, and what it must not be used for."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Response

from service.api.answers.cards import ModelCard
from service.api.deps import Service, known_query
from service.api.openapi import Responses, errors
from service.api.parameters import ModelReference
from service.errors import InvalidInput, NotFound
from service.export.card_text import markdown
from service.store import aliases

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(known_query)])

MARKDOWN = "text/markdown"
CARD: Responses = {
    200: {
        "description": "The card; with `Accept: text/markdown` or `?format=markdown` as a page for people.",
        "content": {MARKDOWN: {"schema": {"type": "string"}}},
    }
}
Format = Annotated[
    Literal["json", "markdown"] | None, Query(description="json or markdown; default: what `Accept` says, else json.")
]
Accept = Annotated[str | None, Header(include_in_schema=False)]


@router.get(
    "/{model_id}/card", summary="Get the card of a model", response_model=ModelCard,
    responses=CARD | errors(NotFound, InvalidInput),
)  # fmt: skip
def get_card(service: Service, model_id: ModelReference, format: Format = None, accept: Accept = None) -> Response:
    """Return what a model is, what it was made of, how good it is and, from facts, what it must not be used for."""
    with service.store.read() as session:
        card = ModelCard.of(aliases.model(session, model_id))
    if format == "markdown" or (format is None and _prefers_markdown(accept)):
        return Response(markdown(card.model_dump(mode="json")), media_type=MARKDOWN)
    return Response(card.model_dump_json(), media_type="application/json")


def _prefers_markdown(accept: str | None) -> bool:
    kinds = [kind.partition(";")[0].strip().lower() for kind in (accept or "").split(",")]
    return MARKDOWN in kinds and "application/json" not in kinds
