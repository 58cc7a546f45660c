"""The outermost layer: request ids, one JSON line of log per request, and nothing unexpected gets past it."""

import random
import re
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.lines import Log
from service.api.problems import render
from service.errors import TrainyardError

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
IDS = random.Random()
QUIET = ("/healthz", "/readyz")
"""Polled every few seconds by machines; a line each would bury the others."""


class Access:
    """ASGI middleware: echoes or makes `X-Request-Id`, logs, and answers 500 without details for a fault of ours."""

    def __init__(self, app: ASGIApp, log_level: str = "INFO") -> None:
        self.app = app
        self.log = Log(log_level)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        exchange = _Exchange(scope, send)
        try:
            await self.app(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or 499
        except Exception as error:
            self.log.error("unexpected", error, request_id=exchange.request_id, path=scope["path"])
            await exchange.fail(scope, receive)
        finally:
            self._write(exchange, scope)

    def _write(self, exchange: "_Exchange", scope: Scope) -> None:
        if scope["path"] in QUIET:
            return
        self.log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=exchange.status or 499,
            ms=round(1000 * (time.perf_counter() - exchange.began), 2),
            request_id=exchange.request_id,
        )


class _Exchange:
    """One request and the answer to it, as far as it has been sent."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.began = time.perf_counter()
        self.status = 0
        self.request_id = _request_id(scope)
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one gets the request id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode())]
        await self._send(message)

    async def fail(self, scope: Scope, receive: Receive) -> None:
        """Answer 500, unless an answer has begun: then breaking off is all that is left."""
        if not self.status:
            message = f"Something went wrong inside the service; the log tells what, under {self.request_id}."
            await render(TrainyardError(message), scope["path"])(scope, receive, self.send)
        else:
            raise ConnectionAbortedError("the answer broke off") from None


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    # No secret, and asking the system for randomness costs more than the rest of a line in the log.
    return f"{IDS.getrandbits(64):016x}"
