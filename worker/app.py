"""The Celery app: prefork, one warm child a slot, early acknowledgement, nothing but ids in messages."""

import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from billiard.process import current_process
from celery import Celery
from celery.signals import worker_process_init, worker_ready, worker_shutting_down
from torch import nn

from service.devices import kind_of
from service.errors import TrainyardError
from service.queue import PREDICTIONS, TRANSPORT_OPTIONS, queue_of, queues_for
from service.settings import Settings
from service.store import schema
from service.store.engine import Store, open_store
from worker import draining
from worker.parent import die_with_parent
from worker.predicting.watch import PredictionWatch
from worker.slots import NoSuchSlot, find_slots
from worker.watch import Watch

log = logging.getLogger(__name__)
SHUTDOWN_SECONDS = 10.0
START_SECONDS = 120.0
"""How long a fresh child may take to warm up; one that is killed for being slow on a busy machine is slow again."""


def configure(settings: Settings) -> Celery:
    """Return the Celery app of these settings."""
    celery = Celery(
        "trainyard", broker=settings.effective_broker_url, include=["worker.tasks", "worker.predicting.tasks"]
    )
    celery.conf.update(
        task_default_queue=queue_of("auto"),
        # Early: a message is a hint, and one that is delivered again after an hour would only be noise.
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_pool="prefork",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=SHUTDOWN_SECONDS,
        worker_proc_alive_timeout=START_SECONDS,
        worker_hijack_root_logger=True,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={**TRANSPORT_OPTIONS, "socket_timeout": None, "max_retries": None},
    )
    return celery


def worker_name(pid: int) -> str:
    """Return the name under which a child of this parent owns jobs."""
    return f"{socket.gethostname()}/{os.getppid() if pid == os.getpid() else os.getpid()}/{pid}"


@dataclass(frozen=True)
class Child:
    """What a child holds for all of its jobs."""

    name: str
    settings: Settings
    store: Store
    slot: str
    """The device that it trains on: "cpu", "cuda:0"."""


@cache
def child() -> Child:
    """Return the state of this process, made at its first use."""
    return Child(worker_name(os.getpid()), _shared(SETTINGS), open_store(SETTINGS.effective_database_url), _slot())


def _shared(settings: Settings) -> Settings:
    """Return the settings with a slot's share of the processor: how many GPUs there are is known here only."""
    threads = settings.threads_per_slot or max(1, settings.cores // len(SLOTS))
    return Settings(**{**settings.model_dump(), "threads_per_slot": threads})


def _slot() -> str:
    # A child that takes the place of a dead one has its number.
    return SLOTS[getattr(current_process(), "index", 0)]


SETTINGS = Settings()
app = configure(SETTINGS)
SLOTS: list[str] = ["cpu"]
"""The device of each child, by its number; set before they are forked."""
_watch: list[Watch] = []
_watches: list[type[Watch]] = [Watch]
"""What kind of watch the parent keeps; a predictor another than a worker that trains."""


def _start_watching(sender: Any, **_: Any) -> None:
    """In the parent: say that the worker lives, and look after its children and the queue."""
    watch = _watches[-1](SETTINGS, SLOTS, lambda: list(sender.pool._pool._pool), worker_name)
    watch.start()
    _watch.append(watch)


def _begin_to_stop(**_: Any) -> None:
    """In the parent, at SIGTERM: have the children give their jobs back."""
    for watch in _watch:
        watch.drain()


def _warm_up(**_: Any) -> None:
    """In a fresh child: die with the parent, then do once what the first job would otherwise wait for."""
    die_with_parent(os.getppid())
    _watch.clear()
    draining.resume()
    signal.signal(draining.SIGNAL, draining.drain)
    child.cache_clear()
    child()
    network = nn.Linear(4, 4)
    network(torch.zeros(2, 4)).sum().backward()
    torch.optim.Adam(network.parameters(), fused=True).step()


def _load_the_rest() -> None:
    """In the parent, for every child: what torch imports when the first optimizer is made takes more than a second."""
    torch.optim.Adam([torch.zeros(1)])


worker_ready.connect(_start_watching)
worker_shutting_down.connect(_begin_to_stop)
worker_process_init.connect(_warm_up)


def main(predicting: bool = False) -> None:
    """Run a worker, or a predictor, until it is told to stop; what it cannot work with ends it with a sentence."""
    store = open_store(SETTINGS.effective_database_url)
    try:
        schema.check(store)
        SLOTS[:] = ["cpu"] * max(1, SETTINGS.predictors) if predicting else find_slots(SETTINGS)
    except TrainyardError as error:
        sys.exit(f"trainyard: {error.message}")
    except NoSuchSlot as error:
        sys.exit(f"trainyard: {error}")
    finally:
        store.dispose()
    if predicting:
        _watches.append(PredictionWatch)
    _load_the_rest()
    queues = PREDICTIONS if predicting else ",".join(queues_for(kind_of(SLOTS[0])))
    options = ["worker", "--loglevel", SETTINGS.log_level, "--without-gossip", "--without-mingle", "--queues", queues]
    app.worker_main([*options, "--concurrency", str(len(SLOTS))])
