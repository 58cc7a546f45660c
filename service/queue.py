"""The producer's side of Celery: messages by task name, no task code. A message is a hint; SQL is the truth."""

import logging

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

TRAIN = "trainyard.train"
"""Name of the task that claims and trains jobs."""
QUEUE = "jobs"
"""Name of the queue, and of the Redis list that holds it."""
TRANSPORT_OPTIONS = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 2.0,
    "socket_keepalive": True,
    "health_check_interval": 30,
    "max_retries": 0,
}

log = logging.getLogger(__name__)


class Queue:
    """Publishes job ids and tells how many wait."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("trainyard", broker=broker_url, set_as_current=False)
        self._app.conf.update(
            task_default_queue=QUEUE,
            task_ignore_result=True,
            broker_transport_options=TRANSPORT_OPTIONS,
            broker_connection_retry=False,
        )

    def enqueue(self, job_id: str) -> bool:
        """Publish a job id; False when the broker does not answer: only a delay, it is published again."""
        try:
            self._app.send_task(TRAIN, args=[job_id], queue=QUEUE, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the broker did not take job %s: %s", job_id, error)
            return False
        return True

    def depth(self) -> int | None:
        """Return how many messages wait; None when the broker does not answer."""
        try:
            with self._app.connection_for_read() as connection:
                return int(connection.default_channel.client.llen(QUEUE))
        except (OperationalError, RedisError, OSError):
            return None

    def ping(self) -> bool:
        """Return whether the broker answers."""
        return self.depth() is not None

    def close(self) -> None:
        """Close every connection to the broker."""
        self._app.close()
