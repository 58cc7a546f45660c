"""The parent's watch over its children."""

import threading
import time
from types import SimpleNamespace

from service.settings import Settings
from service.store import workers
from service.store.engine import Store
from tests.support.real_stack import eventually
from worker.watch import LOOK_SECONDS, Watch


def test_a_child_that_is_not_started_yet_is_passed_over(
    sqlite_store: Store, settings: Settings, redis_url: str
) -> None:
    settings = settings.model_copy(update={"broker_url": redis_url, "webhook_senders": 0})
    coming = SimpleNamespace(pid=None, exitcode=None)
    watch = Watch(settings, ["cpu"], lambda: [coming], str)
    watch.start()

    def beats() -> bool:
        with sqlite_store.read() as session:
            return len(workers.alive(session, 10)) == 1

    assert eventually(beats, 10)
    time.sleep(3 * LOOK_SECONDS)
    assert "watch" in {thread.name for thread in threading.enumerate()}
    watch.drain()
