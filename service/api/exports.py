"""`GET /v1/models/{id}/export`: a model as a file for other programs, or for another Trainyard."""

import asyncio
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.deps import Backend, Service, known_query
from service.api.openapi import Responses, errors
from service.api.parameters import ModelReference
from service.errors import InvalidInput, NotExportable, NotFound, Overloaded, Problem
from service.export.exporter import Exported, identity
from service.export.model_file import ModelFile
from service.export.safetensors_file import pieces
from service.store import aliases
from service.store.tables import Model

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(known_query)])

BINARY = "application/octet-stream"
ENDINGS = {"safetensors": "safetensors", "onnx": "onnx", "torch": "pt2"}
CHECKED = "X-Trainyard-Checked"
PIECE = 1 << 20
Format = Annotated[
    Literal["safetensors", "onnx", "torch"],
    Query(description="safetensors: everything, to be imported again; onnx, torch (torch.export): for other programs."),
]
Dropout = Annotated[
    Literal["on", "off"],
    Query(description="Of onnx and torch: on keeps random layers random, so that every call is a Monte-Carlo sample."),
]
EXPORT: Responses = {
    200: {
        "description": f"The file. `{CHECKED}` says on how many rows an onnx or torch file was held against the "
        "service before it was given out, and by how much its answers differ at most.",
        "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get(
    "/{model_id}/export",
    summary="Export a model",
    response_class=Response,
    responses=EXPORT | errors(NotFound, InvalidInput, NotExportable, Overloaded),
)
async def export_model(
    service: Service, model_id: ModelReference, format: Format = "safetensors", dropout: Dropout = "off"
) -> Response:
    """Return a model as a file.

    A safetensors file holds the weights and, as JSON in its metadata, all else; `POST /v1/models` makes the model of
    it again. ONNX and torch.export files hold preprocessing, network and link as one graph, for any number of rows:
    they take raw columns and give what predictions give. What cannot be said in a format is refused by name.
    """
    row = await run_in_threadpool(_row, service, model_id)
    if format == "safetensors":
        if dropout == "on":
            raise InvalidInput([Problem("dropout", "is for onnx and torch: this format holds no graph", "on", ["off"])])
        return await run_in_threadpool(_whole, service, row)
    if row.members is not None:
        message = f"holds one network, and this model is an ensemble of {row.members}"
        raise NotExportable([Problem("format", message, format, ["safetensors"])])
    exported = await asyncio.wrap_future(service.exporter.ask(row, format, dropout=dropout == "on"))
    return _answer(exported, f"{row.id}.{ENDINGS[format]}")


def _row(service: Backend, reference: str) -> Model:
    with service.store.read() as session:
        return aliases.model(session, reference)


def _headers(filename: str, key: str, size: int) -> dict[str, str]:
    return {
        "Content-Disposition": f'attachment; filename="{filename}"',
        "Content-Length": str(size),
        "ETag": f'"{key}"',
    }


def _whole(service: Backend, row: Model) -> Response:
    size, content = pieces(service.store, row.weights_sha256, row.size, ModelFile.of(row).encode())
    headers = _headers(f"{row.id}.safetensors", identity(row, "safetensors", dropout=False), size)
    return StreamingResponse(content, media_type=BINARY, headers=headers)


class _FileResponse(StreamingResponse):
    """An open file, closed in any case: a client may be gone before the first piece is read."""

    def __init__(self, file: IO[bytes], headers: dict[str, str]) -> None:
        super().__init__(iter(lambda: file.read(PIECE), b""), media_type=BINARY, headers=headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


def _answer(exported: Exported, filename: str) -> Response:
    headers = _headers(filename, exported.key, exported.size) | {CHECKED: _said(exported.checked)}
    return _FileResponse(exported.open(), headers)


def _said(checked: dict[str, Any]) -> str:
    difference = checked["largest_difference"]
    found = "random" if difference is None else f"{difference:.3g}"
    return f"rows={checked['rows']}; largest-difference={found}"
