"""Every block of the language through HTTP: submitted, trained, and asked for predictions with a spread."""

import math
from collections.abc import Iterator

import pytest

from service.client import Client, Json
from tests.support.every_block import DATA, Case, cases, rows_of
from tests.support.real_stack import Stack

CASES = list(cases())


@pytest.fixture(scope="module")
def jobs(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A job for every block, all queued at once, by the name of its case."""
    folder = tmp_path_factory.mktemp("data")
    with Client(stack.url) as client:
        datasets = {}
        for name, (kind, content) in DATA.items():
            (folder / f"{name}.{kind}").write_bytes(content)
            datasets[name] = client.upload(folder / f"{name}.{kind}")["id"]
        yield {case.name: client.submit(with_data(case.spec, datasets[case.data])).id for case in CASES}


def with_data(spec: Json, dataset: str) -> Json:
    return {**spec, "data": {**spec["data"], "dataset": dataset}}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_trains_and_predicts(case: Case, client: Client, jobs: dict[str, str]) -> None:
    job = client.wait(jobs[case.name])
    assert job.status == "succeeded" and job.model, job.error
    rows = rows_of(case)
    answer = client.predict(job.model, rows, mc_samples=3, seed=1)
    assert len(answer["predictions"]) == len(rows) and answer["stochastic_layers"]
    assert all(math.isfinite(number) for number in numbers(answer["predictions"]))
    assert client.predict(job.model, rows, mc_samples=3, seed=1) == answer


def numbers(value: object) -> Iterator[float]:
    """Yield every number in a JSON value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
