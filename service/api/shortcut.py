"""Predict requests past the router: to find a route and solve its dependencies takes longer than fifty samples do."""

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.parameters import MODEL_REFERENCE
from service.api.predictions import predict_rows
from service.api.problems import render
from service.errors import TrainyardError

PREDICT = re.compile("/v1/models/" + MODEL_REFERENCE.strip("^$") + "/predict")


class Shortcut:
    """ASGI middleware: answers `POST /v1/models/{id}/predict` itself, as its route would.

    The route stays for the documentation and for what this does not take, such as a query. What holds for every
    request must be middleware around this one: dependencies of the application are not looked at here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reference = _reference(scope)
        if reference is None:
            return await self.app(scope, receive, send)
        try:
            response = await predict_rows(Request(scope, receive), scope["app"].state.backend, reference)
        except TrainyardError as error:
            response = render(error, scope["path"])
        await response(scope, receive, send)


def _reference(scope: Scope) -> str | None:
    """Return the model that is asked to predict; None for any other request."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"] or scope.get("root_path"):
        return None
    found = PREDICT.fullmatch(scope["path"])
    return found and found[1]
