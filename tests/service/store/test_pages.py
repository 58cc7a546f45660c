"""Pages: walking a list sees every row once, whatever happens to it meanwhile."""

from collections.abc import Callable

import pytest

from service.errors import InvalidInput
from service.store import jobs
from service.store.engine import Store
from service.store.pages import page
from service.store.tables import Job

NewJob = Callable[..., Job]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_walking_sees_every_row_once_newest_first(store: Store, new_job: NewJob, limit: int) -> None:
    ids = [new_job().id for _ in range(7)]
    seen: list[str] = []
    with store.read() as session:
        after, more = None, True
        while more:
            rows, more = page(session, Job, limit, after)
            seen += [row.id for row in rows]
            after = seen[-1]
    assert seen == ids[::-1]


def test_rows_that_come_or_go_do_not_shift_a_page(store: Store, new_job: NewJob) -> None:
    ids = [new_job().id for _ in range(4)]
    with store.begin() as session:
        assert [row.id for row in page(session, Job, 2).rows] == [ids[3], ids[2]]
    new_job()
    with store.begin() as session:
        jobs.delete(session, ids[2])  # the very row the next page begins after
        assert [row.id for row in page(session, Job, 2, ids[2]).rows] == [ids[1], ids[0]]


@pytest.mark.parametrize(
    "after", ["", "job_", "job_x", "nonsense", "job_" + "u" * 26, "job_" + "0" * 27, "ds_" + "0" * 26]
)
def test_what_is_no_id_of_the_list_is_refused(sqlite_store: Store, after: str) -> None:
    with pytest.raises(InvalidInput) as caught, sqlite_store.read() as session:
        page(session, Job, 1, after)
    assert caught.value.problems[0].path == "after"


def test_an_empty_list_has_one_empty_page(store: Store) -> None:
    with store.read() as session:
        assert page(session, Job, 10) == ([], False)
