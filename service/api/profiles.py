"""`/v1/jobs/{id}/profile`: the trace of some steps of a job, for Chrome's viewer or Perfetto's."""

import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import StreamingResponse

from service.api.deps import Service, known_query
from service.api.openapi import errors
from service.api.parameters import JobId
from service.errors import InvalidInput, NotFound
from service.store import jobs, profiles
from service.store.blobs import read_blob
from service.store.tables import Job

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], dependencies=[Depends(known_query)])

JSON = "application/json"
GZIP = 31
"""What zlib calls the window of gzip's format."""
TRACE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The trace in Chrome's Trace Event Format, compressed where the request accepts that.",
        "content": {JSON: {"schema": {"type": "object"}}},
    }
}


@router.get(
    "/profile",
    summary="Download a profile",
    response_class=Response,
    responses=TRACE | errors(NotFound, InvalidInput),
)
def download_profile(
    service: Service, job_id: JobId, accept_encoding: Annotated[str, Header(include_in_schema=False)] = ""
) -> Response:
    """Return the trace of some training steps as JSON, which chrome://tracing and ui.perfetto.dev open.

    A job has one that asked for it with `training.profile` and has taken the steps that are traced.
    """
    with service.store.read() as session:
        job = jobs.get(session, job_id)
        row = profiles.find(session, job_id)
    if row is None:
        raise NotFound(f"Job {job_id} has no profile: {_why_none(job)}.")
    pieces = read_blob(service.store, row.blob)
    first = next(pieces, b"")  # verified before anything is answered
    content = chain([first], pieces)
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.trace.json"', "Vary": "Accept-Encoding"}
    if _takes_gzip(accept_encoding):
        headers |= {"Content-Encoding": "gzip", "Content-Length": str(row.size)}
        return StreamingResponse(content, media_type=JSON, headers=headers)
    return StreamingResponse(_unpacked(content), media_type=JSON, headers=headers)


def _why_none(job: Job) -> str:
    if not job.spec["training"].get("profile"):
        return "its specification does not ask for one with training.profile"
    if job.status in ("succeeded", "failed", "cancelled"):
        return "it ended before the steps were over that are traced"
    return "the steps that are traced are not over yet"


def _takes_gzip(accepted: str) -> bool:
    """Tell whether a header Accept-Encoding names gzip, and not to refuse it."""
    for part in accepted.lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if name in ("gzip", "*"):
            return weight.rstrip("0") not in ("0.", "") if weight else True
    return False


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unpack = zlib.decompressobj(wbits=GZIP)
    for piece in pieces:
        yield unpack.decompress(piece)
    yield unpack.flush()
