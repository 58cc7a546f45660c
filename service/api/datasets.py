"""`/v1/datasets`: upload, list, look into and delete data sets."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from service.api import examples
from service.api.answers.datasets import Dataset, Preview, Statistics, shown_columns
from service.api.creation import FILE_ERRORS, Insert, created
from service.api.deps import Backend, Service, known_query
from service.api.idempotency import Idempotency, Reply
from service.api.openapi import errors, file_request, links
from service.api.pagination import AfterDataset, Limit, Page
from service.api.parameters import Channels, DatasetId, ImageSize, Name
from service.api.preview import first_rows
from service.api.upload import Upload, name_of, stored
from service.data.formats import Format, ImageOptions, Limits, profile_file, sniff
from service.errors import InUse, InvalidDataset, InvalidInput, NotFound, Problem
from service.store import datasets

MEDIA_TYPES = {
    "text/csv": "CSV or TSV in UTF-8 with a header line; the delimiter is found out.",
    "application/vnd.apache.parquet": "Parquet.",
    "application/x-npz": "NumPy's .npz: arrays with the same first axis, one row each; no object arrays.",
    "application/x-ndjson": "One JSON object a line.",
    "application/zip": "Images (PNG, JPEG, GIF, BMP, WebP) in one folder a class; or IDX files.",
    "application/x-idx": "IDX, the format of MNIST, gzipped or not; several of them come in a ZIP.",
    "application/octet-stream": "Any of these; file name and content tell which.",
}
UPLOAD_ERRORS = errors(InvalidInput, InvalidDataset, *FILE_ERRORS)
USES = links("dataset_id", "get_dataset", "preview_dataset", "get_statistics", "delete_dataset")

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(known_query)])


@router.post(
    "",
    status_code=201,
    response_model=Dataset,
    summary="Upload a data set",
    responses={201: USES, **UPLOAD_ERRORS},
    openapi_extra=file_request(
        MEDIA_TYPES, examples.FILES, "The file itself, or a form with the file in its field `file`."
    ),
)
async def create_dataset(
    request: Request,
    service: Service,
    once: Idempotency,
    name: Name = None,
    image_size: ImageSize = None,
    channels: Channels = None,
) -> Response:
    """Store a file as a data set and say what is in it: columns, types, missing values, statistics.

    The file is streamed; its size is limited by the server's settings, its rows are not.
    """
    options = _image_options(image_size, channels)
    return await created(request, service, once, partial(_make, service, name, options))


def _image_options(size: str | None, channels: str | None) -> ImageOptions | None:
    if size is None and channels is None:
        return None
    height, _, width = (size or "").partition("x")
    return ImageOptions((int(height), int(width)) if size else None, int(channels) if channels else None)


def _make(service: Backend, name: str | None, options: ImageOptions | None, upload: Upload) -> Insert:
    format = sniff(upload.content_type, upload.filename or name, upload.head())
    if options is not None and format is not Format.IMAGES:
        path = "image_size" if options.size else "channels"
        raise InvalidInput([Problem(path, f"is for a ZIP of images; this file is read as {format.value}")])
    profile = profile_file(upload.path, format, Limits.of(service.settings), options)
    bytes_of_file = stored(service, upload.path)

    def insert(session: Session) -> Reply:
        blob = bytes_of_file.finish(session)
        row = datasets.insert(
            session,
            name=name or name_of(upload.filename, "dataset"),
            format=profile.format,
            sha256=blob.sha256,
            size=blob.size,
            rows=profile.rows,
            columns=[column.model_dump(mode="json") for column in profile.columns],
        )
        return Reply(201, Dataset.of(row).model_dump(mode="json"), f"/v1/datasets/{row.id}")

    return insert


@router.get("", summary="List data sets", responses=errors(InvalidInput))
def list_datasets(service: Service, limit: Limit = 20, after: AfterDataset = None) -> Page[Dataset]:
    """Return the data sets, newest first."""
    with service.store.read() as session:
        return Page.of(datasets.list_page(session, limit, after), Dataset.of)


@router.get("/{dataset_id}", summary="Get a data set", responses=errors(NotFound, InvalidInput))
def get_dataset(service: Service, dataset_id: DatasetId) -> Dataset:
    """Return one data set."""
    with service.store.read() as session:
        return Dataset.of(datasets.get(session, dataset_id))


@router.get("/{dataset_id}/preview", summary="Look at the first rows", responses=errors(NotFound, InvalidInput))
def preview_dataset(
    service: Service,
    dataset_id: DatasetId,
    rows: Annotated[int, Query(ge=1, le=1000, description="How many rows.")] = 10,
) -> Preview:
    """Return the first rows of a data set as JSON."""
    with service.store.read() as session:
        dataset = datasets.get(session, dataset_id)
    return first_rows(service.store, dataset, rows)


@router.get("/{dataset_id}/statistics", summary="Get statistics", responses=errors(NotFound, InvalidInput))
def get_statistics(service: Service, dataset_id: DatasetId) -> Statistics:
    """Return what is known of every column: missing and distinct values, range, mean, deviation, frequent values."""
    with service.store.read() as session:
        dataset = datasets.get(session, dataset_id)
    return Statistics(dataset=dataset.id, rows=dataset.rows, columns=shown_columns(dataset))


@router.delete(
    "/{dataset_id}", status_code=204, summary="Delete a data set", responses=errors(NotFound, InUse, InvalidInput)
)
def delete_dataset(service: Service, dataset_id: DatasetId) -> None:
    """Delete a data set. Its finished jobs and their models stay; one that a job still needs is kept."""
    with service.store.begin() as session:
        datasets.delete(session, dataset_id)
