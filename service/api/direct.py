"""Routes on which every microsecond counts: FastAPI documents them, and does nothing else for them."""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.api.deps import known_query
from service.api.parameters import MODEL_REFERENCE
from service.errors import NotFound

_KNOWN = re.compile(MODEL_REFERENCE)


class Direct(APIRoute):
    """A route whose function is called with `request`, `service` and what the path holds, without FastAPI's solving.

    To solve and check dependencies takes FastAPI longer than a small network takes for fifty samples. The signature
    of the function is what the documentation is made of; what it says of `model_id` and of the query holds.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                await known_query(request)
            path = request.path_params
            if not _KNOWN.fullmatch(path["model_id"]):
                raise NotFound(f"There is no model {path['model_id'][:300]!r}.")
            response: Response = await endpoint(request=request, service=request.app.state.backend, **path)
            return response

        return handle
