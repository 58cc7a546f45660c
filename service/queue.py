"""The producer's side of Celery: messages by task name, no task code. A message is a hint; SQL is the truth."""

import logging

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from service.devices import read_asked, suiting

TRAIN = "trainyard.train"
"""Name of the task that claims and trains jobs."""
PREDICT = "trainyard.predict"
"""Name of the task that claims predictions and makes them."""
PREDICTIONS = "trainyard.predictions"
"""Name of the queue, and of the Redis list, for predictions: they stand behind no training job."""
TRANSPORT_OPTIONS = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 2.0,
    "socket_keepalive": True,
    "health_check_interval": 30,
    "max_retries": 0,
}

log = logging.getLogger(__name__)


def queue_of(device: str) -> str:
    """Return the name of the queue, and of the Redis list, for jobs that ask for this.

    Jobs for several devices have queues of their own, which no slot of one GPU listens to; however many they are for,
    they share one, because a message that the wrong slot gets is only a delay.
    """
    device, devices = read_asked(device)
    return f"trainyard.{device}" if devices == 1 else f"trainyard.several.{device}"


def queues_for(kind: str | None) -> list[str]:
    """Return the names of the queues that workers with slots of this kind listen to; of all for None."""
    return list(dict.fromkeys(queue_of(device) for device in suiting(kind)))


class Queue:
    """Publishes job ids and tells how many wait."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("trainyard", broker=broker_url, set_as_current=False)
        self._app.conf.update(
            task_default_queue=queue_of("auto"),
            task_ignore_result=True,
            broker_transport_options=TRANSPORT_OPTIONS,
            broker_connection_retry=False,
        )

    def enqueue(self, job_id: str, device: str = "auto") -> bool:
        """Publish a job id for workers that have the device; False when the broker does not answer.

        That is only a delay: it is published again.
        """
        return self._send(TRAIN, job_id, queue_of(device))

    def enqueue_prediction(self, prediction_id: str) -> bool:
        """Publish the id of a prediction, as `enqueue` does that of a job."""
        return self._send(PREDICT, prediction_id, PREDICTIONS)

    def _send(self, task: str, of: str, queue: str) -> bool:
        try:
            self._app.send_task(task, args=[of], queue=queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the broker did not take %s: %s", of, error)
            return False
        return True

    def depth(self, device: str | None = None) -> int | None:
        """Return how many messages about jobs wait, of all or of one queue; None when the broker does not answer."""
        return self._length(queues_for(None) if device is None else [queue_of(device)])

    def predictions(self) -> int | None:
        """Return how many messages about predictions wait; None when the broker does not answer."""
        return self._length([PREDICTIONS])

    def _length(self, names: list[str]) -> int | None:
        try:
            with self._app.connection_for_read() as connection:
                client = connection.default_channel.client
                return sum(int(client.llen(name)) for name in names)
        except (OperationalError, RedisError, OSError):
            return None

    def ping(self) -> bool:
        """Return whether the broker answers."""
        return self.depth() is not None

    def close(self) -> None:
        """Close every connection to the broker."""
        self._app.close()
