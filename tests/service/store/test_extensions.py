"""Jobs that go on from the end of others, on every database."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from service.errors import WrongState
from service.store import extensions
from service.store.engine import Store
from service.store.tables import JOB_STATES, Job


@pytest.mark.parametrize("state", [state for state in JOB_STATES if state != "succeeded"])
def test_only_what_has_succeeded_is_extended(store: Store, new_job: Callable[..., Job], state: str) -> None:
    job = new_job()
    with store.begin() as session:
        session.execute(update(Job).where(Job.id == job.id).values(status=state))
    with store.begin() as session, pytest.raises(WrongState, match=f"{job.id} is {state}: only a job that has"):
        extensions.extend(session, job.id, spec={}, spec_sha256="0" * 64, epochs=1)


def test_what_has_nothing_left_to_go_on_from_is_not_extended(store: Store, new_job: Callable[..., Job]) -> None:
    job = new_job()
    with store.begin() as session:
        session.execute(update(Job).where(Job.id == job.id).values(status="succeeded"))
    with store.begin() as session, pytest.raises(WrongState, match="has no checkpoint left"):
        extensions.extend(session, job.id, spec={}, spec_sha256="0" * 64, epochs=1)
