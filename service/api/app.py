"""The application: what it is made of, how it starts and how it ends."""

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from types import FrameType

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.api import (
    aliases,
    blocks,
    cards,
    datasets,
    evaluation,
    exports,
    health,
    imports,
    job_commands,
    job_records,
    jobs,
    models,
    networks,
    openapi,
    predictions,
    problems,
    profiles,
    queued_predictions,
    webhooks,
    weights,
)
from service.api.access import Access
from service.api.bulk_submission import DatasetRequest
from service.api.deps import Backend
from service.api.extension import ExtendRequest
from service.api.head import Head
from service.api.inference import routes as inference
from service.api.inference.messages import InferRequest
from service.api.shortcut import Shortcut
from service.api.upload import remove_stale, uploads_folder
from service.api.warmup import warming_up
from service.errors import TrainyardError
from service.export.exporter import Exporter
from service.predict.admission import Admission
from service.predict.batching import Batcher
from service.predict.bulk.streams import Streams
from service.predict.cache import ModelCache
from service.predict.evaluation_messages import EvaluateRequest, ImportanceRequest
from service.predict.messages import PredictRequest
from service.queue import Queue
from service.reconciler import Reconciler
from service.settings import Settings
from service.spec import JobSpec
from service.store import schema
from service.store.engine import open_store
from service.webhooks.sender import Sender

SUMMARY = "JSON in, trained PyTorch network out, with Monte-Carlo-dropout uncertainty."
DESCRIPTION = """\
Upload a data set, submit a job that describes a network in JSON, watch it train, and ask the model for predictions
that say how far they can be trusted.

Every error is `application/problem+json` (RFC 9457) with a stable `code`; for bad input `errors` lists every value
that is not allowed, by JSON path. `Idempotency-Key` makes a POST safe to repeat. Lists come newest first; ask for the
next page with `after` set to the last id.
"""
TAGS = [
    {"name": "datasets", "description": "Files that networks are trained on."},
    {"name": "networks", "description": "What would come of a specification, without training."},
    {"name": "jobs", "description": "Training runs: submit, watch, pause, resume, cancel, retry, extend."},
    {"name": "models", "description": "Trained networks: predict, evaluate, export, import."},
    {"name": "predictions", "description": "Whole files that are predicted later: ask, look, fetch the result."},
    {"name": "webhooks", "description": "Addresses that are told when the state of a job changes."},
    {"name": "weights", "description": "Imported weights, for training to start from."},
    {"name": "inference protocol", "description": "The Open Inference Protocol 2, for KServe's and Triton's clients."},
    {"name": "service", "description": "The service itself."},
]
BODIES = (
    PredictRequest,
    DatasetRequest,
    InferRequest,
    EvaluateRequest,
    ImportanceRequest,
    networks.CheckRequest,
    ExtendRequest,
    webhooks.WebhookRequest,
)
ROUTERS = (
    datasets.router,
    networks.router,
    blocks.router,
    jobs.router,
    job_commands.router,
    job_records.router,
    profiles.router,
    models.router,
    imports.router,
    exports.router,
    cards.router,
    predictions.router,
    queued_predictions.models_router,
    queued_predictions.router,
    evaluation.router,
    aliases.router,
    inference.router,
    webhooks.router,
    weights.router,
    health.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; without settings it takes those of the environment."""
    settings = settings or Settings()
    app = FastAPI(
        title="Trainyard",
        summary=SUMMARY,
        description=DESCRIPTION,
        version=health.VERSION,
        openapi_tags=TAGS,
        lifespan=_lifespan(settings),
        generate_unique_id_function=_operation_id,
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router, responses=openapi.ALWAYS)
    problems.install(app)
    openapi.install(app, jobs.JobRequest, JobSpec, *BODIES)
    app.add_middleware(Shortcut)
    app.add_middleware(Head)
    app.add_middleware(Access, log_level=settings.log_level)
    return app


GC_THRESHOLDS = (20_000, 20, 50)
"""Objects between two looks of Python for cycles among young ones; then among older, and among all since the start."""


def serve() -> FastAPI:
    """Return the application for a server; a database that it cannot work with ends the process with a sentence."""
    settings = Settings()
    store = open_store(settings.effective_database_url)
    try:
        schema.check(store)
    except TrainyardError as error:
        sys.exit(f"trainyard: {error.message}")
    finally:
        store.dispose()
    app = create_app(settings)
    # What is there now stays. To look through it for cycles again and again took a seventh of the time of requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with _backend(settings) as backend:
            app.state.backend = backend
            yield
            backend.closing.set()

    return lifespan


@contextmanager
def _backend(settings: Settings) -> Iterator[Backend]:
    """Open everything that the API stands on, and close it again.

    Raises:
        SchemaMismatch: The database is not the one that this version needs.
    """
    folder = uploads_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    store = open_store(settings.effective_database_url)
    queue = Queue(settings.effective_broker_url)
    held = ModelCache(store, settings.model_cache_bytes)
    batcher = Batcher(held, settings)
    admission = Admission(settings.max_predictions, settings.max_predictions_bytes)
    streams, exporter = Streams(settings), Exporter(settings)
    backend = Backend(settings, store, queue, held, batcher, admission, streams, exporter, asyncio.Event())
    reconciler = Reconciler(store, queue, settings)
    with ExitStack() as stack:
        stack.callback(store.dispose)
        stack.callback(queue.close)
        stack.callback(batcher.close)
        stack.callback(streams.close)
        stack.callback(exporter.close)
        schema.check(store)
        reconciler.start()
        stack.callback(reconciler.stop)
        sender = Sender(store, settings)
        sender.start()
        stack.callback(sender.stop)
        stack.enter_context(warming_up(queue))
        stack.enter_context(_ending(backend.closing))
        yield backend


@contextmanager
def _ending(closing: asyncio.Event) -> Iterator[None]:
    """Set `closing` as soon as a signal asks the process to end.

    A server says so to the application only when every answer is out, and a stream of events would never be.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(closing.set)
        handler = former[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    chained = [number for number, handler in former.items() if callable(handler)]
    for number in chained:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in chained:
            signal.signal(number, former[number])
