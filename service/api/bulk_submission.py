"""Predictions on their way into the queue: what is wrong with them is found before."""

import hashlib
from typing import Annotated, Any, Literal

from fastapi import Request, Response
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool
from pydantic import Field

from service.api.answers.predictions import Prediction
from service.api.bodies import read_json
from service.api.bulk_options import BulkQuery
from service.api.bulk_stream import arrived, count_rows, format_of, row_file
from service.api.deps import Backend
from service.api.idempotency import Once, Reply
from service.api.upload import Upload, stored
from service.data.profile import ColumnProfile
from service.errors import InvalidInput, NotFound, Problem
from service.predict.bulk.bulk import Bulk
from service.predict.bulk.datasets import suited
from service.predict.messages import PredictOptions
from service.store import datasets, predictions


class DatasetRequest(PredictOptions):
    """A data set whose rows are to be predicted, and how to ask the network how sure it is."""

    dataset: Annotated[str, Field(examples=["ds_01k5c1y6nq3v8r2m7x4t9w0zha"])]
    """Id of the data set: all of its rows are predicted; columns that the model does not use do not count."""
    later: Annotated[Literal[True], Field(alias="async")] = True
    """Always true here, and may be left out: a predictor makes it, and the answer comes at once."""


async def of_upload(request: Request, service: Backend, reference: str, query: BulkQuery, once: Once) -> Response:
    """Store a file of rows and queue its prediction.

    Raises:
        Overloaded: As many files as may be arrive or are being predicted.
        InvalidRows: Columns or rows do not fit the model.
        QueueFull: As many predictions wait as may.
    """
    asked = query.read()
    async with contextmanager_in_threadpool(once.reserved()):
        with service.streams.place():
            loaded = await run_in_threadpool(service.models.find, reference)
            bulk = Bulk.of(loaded, asked, service.settings)
            async with arrived(request, service) as upload:
                if earlier := once.replay(once.fingerprint(upload.sha256)):
                    return earlier.response()
                rows = await count_rows(request, service, bulk, row_file(upload, loaded))
                reply = await run_in_threadpool(_store, service, bulk, upload, rows, once)
    service.queue.enqueue_prediction(reply.id)
    return reply.response()


def _store(service: Backend, bulk: Bulk, upload: Upload, rows: int, once: Once) -> Reply:
    content = stored(service, upload.path)
    with service.store.begin() as session:
        blob = content.finish(session)
        row = predictions.insert(
            session,
            model=bulk.loaded.id,
            data_sha256=blob.sha256,
            format=format_of(upload).value,
            input=blob.sha256,
            options=_options(bulk.asked),
            rows=rows,
            most_queued=service.settings.max_queued_predictions,
        )
        reply = _reply(row)
        once.finish(session, once.fingerprint(upload.sha256), reply)
    return reply


async def of_dataset(service: Backend, reference: str, body: bytes, once: Once) -> Response:
    """Queue the prediction of a data set.

    Raises:
        InvalidInput: There is no such data set, it lacks columns, or this model cannot answer what is asked.
        TooLarge: There is more to compute than is allowed.
        QueueFull: As many predictions wait as may.
    """
    reply = await run_in_threadpool(_queue, service, reference, body, once)
    if not reply.replayed:
        service.queue.enqueue_prediction(reply.id)
    return reply.response()


def _queue(service: Backend, reference: str, body: bytes, once: Once) -> Reply:
    fingerprint = once.fingerprint(hashlib.sha256(body).hexdigest())
    once.recall()
    if earlier := once.replay(fingerprint):
        return earlier
    request = read_json(body, DatasetRequest)
    asked = PredictOptions.model_validate(request.model_dump(exclude={"dataset", "later"}))
    bulk = Bulk.of(service.models.find(reference), asked, service.settings)
    with service.store.begin() as session:
        if earlier := once.take(session, fingerprint):
            return earlier
        try:
            dataset = datasets.hold(session, request.dataset)
        except NotFound as error:
            message = "there is no data set with this id"
            raise InvalidInput([Problem("dataset", message, request.dataset)]) from error
        suited(bulk.loaded, [ColumnProfile.model_validate(column) for column in dataset.columns])
        bulk.check_work(dataset.rows, service.settings)
        row = predictions.insert(
            session,
            model=bulk.loaded.id,
            dataset=dataset.id,
            data_sha256=dataset.sha256,
            format=dataset.format,
            columns=dataset.columns,
            input=dataset.sha256,
            options=_options(asked),
            rows=dataset.rows,
            most_queued=service.settings.max_queued_predictions,
        )
        reply = _reply(row)
        once.finish(session, fingerprint, reply)
    return reply


def _options(asked: PredictOptions) -> dict[str, Any]:
    return asked.model_dump(mode="json")


def _reply(row: Any) -> Reply:
    return Reply(202, Prediction.of(row).model_dump(mode="json"), f"/v1/predictions/{row.id}")
