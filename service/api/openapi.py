"""What the OpenAPI document says beyond the answer models: raw bodies, the language, and every error."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.problems import MEDIA_TYPE, ProblemAnswer, document
from service.errors import (
    InvalidInput,
    MalformedRequest,
    Problem,
    TooLarge,
    TrainyardError,
    Unavailable,
    UnsupportedMediaType,
)

REF = "#/components/schemas/{model}"
JSON = "application/json"
ROWS = {
    "description": "Rows as objects of columns and values.",
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"type": ["number", "string", "boolean", "null"]},
    },
}
RETRY_AFTER = {"description": "Seconds to wait before asking again.", "schema": {"type": "integer"}}
EXAMPLE = Problem("network.layers[0].units", "must be at least 1", 0, {"ge": 1})

Responses = dict[int | str, dict[str, Any]]


def errors(*kinds: type[TrainyardError]) -> Responses:
    """Return the `responses=` of a route that may answer with these errors."""
    responses: Responses = {}
    for kind in kinds:
        entry = responses.setdefault(kind.status, {"description": "", "content": {MEDIA_TYPE: _problem_schema()}})
        sentence = (kind.__doc__ or "").strip().splitlines()[0]
        entry["description"] = " ".join(filter(None, [entry["description"], sentence]))
        if kind.retry_after is not None:
            entry["headers"] = {"Retry-After": RETRY_AFTER}
        entry["content"][MEDIA_TYPE]["examples"][kind.code] = {"summary": sentence, "value": _example(kind)}
    return responses


def _problem_schema() -> dict[str, Any]:
    return {"schema": {"$ref": REF.format(model="Problem")}, "examples": {}}


def _example(kind: type[TrainyardError]) -> dict[str, Any]:
    error = kind([EXAMPLE]) if issubclass(kind, InvalidInput) else kind()
    return document(error, "/v1/jobs")


ALWAYS = errors(TrainyardError, Unavailable)
"""What any request may be answered with."""
BODY_ERRORS = (MalformedRequest, TooLarge, UnsupportedMediaType)
"""What a JSON body may be answered with, whatever it is to say."""


def json_request(model: type[BaseModel], description: str, examples: Mapping[str, object]) -> dict[str, Any]:
    """Return the `openapi_extra=` of a route that reads JSON of `model` from the raw bytes."""
    shown = {name: {"value": value} for name, value in examples.items()}
    content = {JSON: {"schema": {"$ref": REF.format(model=model.__name__)}, "examples": shown}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def links(parameter: str, *operations: str) -> dict[str, Any]:
    """Return the `links` of an answer whose `id` is that parameter of other operations."""
    return {
        "links": {name: {"operationId": name, "parameters": {parameter: "$response.body#/id"}} for name in operations}
    }


def file_request(media_types: Mapping[str, str], examples: Mapping[str, object], description: str) -> dict[str, Any]:
    """Return the `openapi_extra=` of a route that takes a file, as the body or as the form's field `file`."""
    binary = {"type": "string", "format": "binary"}
    content: dict[str, Any] = {kind: {"schema": {**binary, "description": text}} for kind, text in media_types.items()}
    if JSON in examples:
        content[JSON] = {"schema": ROWS}
    for kind, example in examples.items():
        content[kind]["examples"] = {"small": {"value": example}}
    form = {"type": "object", "required": ["file"], "properties": {"file": {**binary, "description": "The file."}}}
    content["multipart/form-data"] = {"schema": {**form, "additionalProperties": False}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def install(app: FastAPI, *models: type[BaseModel]) -> None:
    """Make `app.openapi()` include the models that routes read from raw bytes, and the problem document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, models)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI means it to be replaced


def _build(app: FastAPI, models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description,
        routes=app.routes, tags=app.openapi_tags,
    )  # fmt: skip
    wanted: list[type[BaseModel]] = [*models, ProblemAnswer]
    _, more = models_json_schema([(model, "validation") for model in wanted], ref_template=REF)
    components = schema["components"]["schemas"]
    definitions = more["$defs"]
    definitions["Problem"] = definitions.pop("ProblemAnswer")
    for name, definition in definitions.items():
        if components.setdefault(name, definition) != definition:
            raise RuntimeError(f"two different models are called {name}; rename one")
    for operation in (operation for path in schema["paths"].values() for operation in path.values()):
        for parameter in operation.get("parameters", []):
            parameter["schema"] = _not_null(parameter["schema"])
    components.pop("HTTPValidationError", None)
    components.pop("ValidationError", None)
    return schema


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter: one that is not given is left out, there is no way to say null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: part for name, part in schema.items() if name != "anyOf"}, **kinds[0]}
