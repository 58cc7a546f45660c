"""Every error answer: one renderer to `application/problem+json` (RFC 9457), whoever raised the error."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from service.errors import (
    InvalidInput,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
    TooLarge,
    TrainyardError,
)

MEDIA_TYPE = "application/problem+json"
MAX_PROBLEMS = 100
INFERENCE = "/v2"
"""Where the Open Inference Protocol is spoken, which has a form of its own for errors."""
MAX_TEXT, MAX_ITEMS, MAX_DEPTH = 500, 20, 4
BOUNDS = ("ge", "gt", "le", "lt", "pattern", "min_length", "max_length", "expected")


class InvalidValue(BaseModel):
    """One value that is not allowed."""

    path: str = Field(description="JSON path of the value, or the name of the query parameter; empty: the whole body.")
    message: str = Field(description="What is wrong, in a sentence.")
    got: Any = Field(None, description="The value that came; long ones are cut.")
    allowed: Any = Field(None, description="What would be right: a list of choices, bounds, or a sentence.")


class ProblemAnswer(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="URI of the kind of problem; it ends with `code`.")
    title: str = Field(description="The kind of problem, in a sentence that never changes.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What happened this time, in words that a person can act on.")
    code: str = Field(description="Stable name of the kind of problem, for programs.")
    instance: str = Field(description="The path that was asked for.")
    errors: list[InvalidValue] = Field(description="Every value that is not allowed; empty for other problems.")


def type_uri(code: str) -> str:
    """Return the `type` of the problems with this code."""
    return f"urn:trainyard:problem:{code}"


def shown(value: object, depth: int = 0) -> Any:
    """Return `value` as JSON that is safe to send back: long texts, long lists and deep nesting are cut."""
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < 2**63 else "a number of more than 64 bits"
        case float():
            return value if value - value == 0 else str(value)
        case Mapping() if depth < MAX_DEPTH:
            return {shown(str(key)): shown(item, depth + 1) for key, item in list(value.items())[:MAX_ITEMS]}
        case list() | tuple() | set() | frozenset() if depth < MAX_DEPTH:
            return [shown(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        case Mapping() | list() | tuple():
            return "..."
        case bytes():
            return f"{len(value)} bytes"
    text = plain(str(value))
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def plain(text: str) -> str:
    """Return `text` without lone surrogates, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def document(error: TrainyardError, instance: str) -> dict[str, Any]:
    """Return the members of the problem document."""
    problems = error.problems[:MAX_PROBLEMS] if isinstance(error, InvalidInput) else ()
    found = {
        "type": type_uri(error.code),
        "title": error.title,
        "status": error.status,
        "detail": plain(error.message),
        "code": error.code,
        "instance": instance,
        "errors": [_invalid_value(problem) for problem in problems],
    }
    # There clients look for a sentence, and nowhere else.
    return {**found, "error": found["detail"]} if instance.startswith(INFERENCE) else found


def _invalid_value(problem: Problem) -> dict[str, Any]:
    # `allowed` is our own list of choices and is never cut: it may be longer than anything echoed from a client.
    return {
        "path": plain(problem.path),
        "message": plain(problem.message),
        "got": shown(problem.got),
        "allowed": problem.allowed if _is_choices(problem.allowed) else shown(problem.allowed),
    }


def _is_choices(allowed: object) -> bool:
    return isinstance(allowed, list) and all(isinstance(item, str | int | bool | None) for item in allowed)


def render(error: TrainyardError, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the HTTP answer for `error`."""
    extra = dict(headers or {})
    if isinstance(error, TooLarge):
        extra["Connection"] = "close"  # the rest of the body is not going to be read
    if error.retry_after is not None:
        extra["Retry-After"] = str(error.retry_after)
    content = orjson.dumps(document(error, quote(path, errors="replace")))
    return Response(content, error.status, media_type=MEDIA_TYPE, headers=extra)


def install(app: FastAPI) -> None:
    """Make every error of `app` come out as a problem."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, TrainyardError)
        return render(error, request.url.path)

    async def invalid_parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return render(parameter_error(error.errors()), request.url.path)

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _framework_fault(app, request, error)

    app.add_exception_handler(TrainyardError, ours)
    app.add_exception_handler(RequestValidationError, invalid_parameters)
    app.add_exception_handler(HTTPException, framework)


def parameter_error(errors: Iterable[Mapping[str, Any]]) -> TrainyardError:
    """Return the error for parameters that FastAPI refused; an impossible id is an unknown id."""
    problems = []
    for error in errors:
        where, *rest = error["loc"]
        if where == "path":
            return NotFound(f"There is nothing with the id {shown(error['input'])!r}.")
        problems.append(_parameter_problem(".".join(map(str, rest)), error))
    return InvalidInput(problems)


def _parameter_problem(name: str, error: Mapping[str, Any]) -> Problem:
    bounds = {key: value for key, value in (error.get("ctx") or {}).items() if key in BOUNDS}
    message = str(error["msg"]).replace("Input should be", "must be").replace("String should", "must")
    return Problem(name, message, error.get("input"), bounds or None)


def _framework_fault(app: FastAPI, request: Request, error: HTTPException) -> Response:
    path = request.url.path
    match error.status_code:
        case 404:
            return render(NotFound(f"There is no resource {path}; GET /openapi.json lists those that exist."), path)
        case 405:
            allow = ", ".join(methods_of(app, request))
            message = f"{path} does not know {request.method}; it knows {allow}."
            return render(MethodNotAllowed(message), path, {"Allow": allow})
        case 413:
            return render(TooLarge(str(error.detail)), path)
    return render(MalformedRequest(str(error.detail)), path)


def methods_of(app: FastAPI, request: Request) -> list[str]:
    """Return every method that the path of `request` knows, over all of its routes; where GET is, HEAD is, too."""
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    scope = dict(request.scope)
    return [
        method
        for method in known
        if any(
            route.matches({**scope, "method": "GET" if method == "HEAD" else method})[0] is Match.FULL
            for route in app.router.routes
        )
    ]
