"""Several servers and several workers on one database: who asks whom makes no difference."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.stack import server_command
from tests.chaos.fleet import NEVER, Database, Fleet, client_of, until
from tests.support.ports import free_port
from tests.worker.runs import changed, outcome

JOBS = 12


@pytest.fixture(scope="module")
def fleet(home: Path, database: Database) -> Iterator[Fleet]:
    """A server and three workers."""
    fleet = Fleet(home, database, workers=3, lease_seconds=NEVER)
    yield fleet
    fleet.close()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_three_servers_and_three_workers_share_the_work(fleet: Fleet, wine_csv: bytes) -> None:
    ports = [free_port() for _ in range(2)]
    servers = [
        fleet.start("server", server_command(fleet.settings.model_copy(update={"port": port}))) for port in ports
    ]
    clients = [fleet.client, *map(client_of, ports)]
    try:
        for client in clients[1:]:
            until(lambda client=client: _answers(client), "another server does not answer")  # type: ignore[misc]
        spec = changed(training={"epochs": 10}, data={"dataset": fleet.upload(wine_csv)})

        def submit(number: int) -> str:
            """Submit job `number` to every server at once under one key; return the one job that comes of it."""
            key = {"Idempotency-Key": f"job-{number}"}
            ids = set()
            for client in clients:
                answer = client.post("/v1/jobs", json=spec, headers=key)
                while answer.status_code == 409:  # another server is at it
                    answer = client.post("/v1/jobs", json=spec, headers=key)
                assert answer.status_code == 202, answer.text
                ids.add(answer.json()["id"])
            assert len(ids) == 1
            return str(ids.pop())

        with ThreadPoolExecutor(6) as pool:
            job_ids = list(pool.map(submit, range(JOBS)))
        assert len(set(job_ids)) == JOBS
        ended = [fleet.ended(job_id) for job_id in job_ids]
        assert Counter((job.status, job.attempt) for job in ended) == {("succeeded", 1): JOBS}
        assert len({str(outcome(fleet.store, job_id)) for job_id in job_ids}) == 1
        listed = [client.get("/v1/jobs", params={"limit": 1000}).json()["data"] for client in clients]
        assert listed[0] == listed[1] == listed[2]
    finally:
        for client in clients[1:]:
            client.close()
        for server in servers:
            server.kill()
            server.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False
