"""Aliases: they lead to a model, move in one step, and hold on to what they lead to."""

import threading
from collections.abc import Callable

import pytest

from service.errors import InUse, NotFound
from service.store import aliases, models
from service.store.blobs import BlobWriter
from service.store.engine import Store
from service.store.tables import Job

NewJob = Callable[..., Job]


def new_model(store: Store, new_run: NewJob) -> str:
    job, writer = new_run(), BlobWriter(store)
    writer.write(job.id.encode())
    with store.begin() as session:
        return models.insert(
            session, job=job.id, name="wine", spec={}, task="classification", classes=None, columns=[],
            preprocessing={}, metrics={}, receipt={}, weights=writer.finish(session), parameters=1,
        ).id  # fmt: skip


def test_an_alias_leads_to_a_model_and_then_to_another(store: Store, new_run: NewJob) -> None:
    first, second = new_model(store, new_run), new_model(store, new_run)
    with store.begin() as session:
        made = aliases.put(session, "wine@production", first)
        assert (made.name, made.model) == ("wine@production", first)
    with store.begin() as session:
        same = aliases.put(session, "wine@production", first)
        assert same.updated_at == made.updated_at, "nothing has changed"
    with store.begin() as session:
        moved = aliases.put(session, "wine@production", second)
    assert (moved.model, moved.created_at) == (second, made.created_at)
    assert moved.updated_at >= made.updated_at
    with store.read() as session:
        assert aliases.resolve(session, "wine@production") == second == aliases.model(session, "wine@production").id
        assert aliases.resolve(session, first) == first


def test_what_is_not_there_is_not_found(store: Store) -> None:
    with store.begin() as session:
        for call in (aliases.get, aliases.resolve, aliases.model, aliases.delete):
            with pytest.raises(NotFound, match="no alias wine@production"):
                call(session, "wine@production")
        with pytest.raises(NotFound, match="no model mdl_x"):
            aliases.put(session, "wine@production", "mdl_x")


def test_a_model_with_an_alias_is_not_deleted(store: Store, new_run: NewJob) -> None:
    model = new_model(store, new_run)
    with store.begin() as session:
        aliases.put(session, "wine@production", model)
        aliases.put(session, "wine@canary", model)
    with pytest.raises(InUse, match=f"{model} is what wine@canary and wine@production"), store.begin() as session:
        models.delete(session, model)
    with store.begin() as session:
        aliases.delete(session, "wine@production")
        aliases.delete(session, "wine@canary")
        models.delete(session, model)


def test_lists_are_by_name_and_of_one_model_or_all(store: Store, new_run: NewJob) -> None:
    first, second = new_model(store, new_run), new_model(store, new_run)
    with store.begin() as session:
        for name, model in (("c@1", first), ("a@1", first), ("b@1", second)):
            aliases.put(session, name, model)
    with store.read() as session:
        page = aliases.list_page(session, 2)
        assert ([row.name for row in page.rows], page.has_more) == (["a@1", "b@1"], True)
        assert [row.name for row in aliases.list_page(session, 2, after="b@1").rows] == ["c@1"]
        assert [row.name for row in aliases.list_page(session, 9, model_id=first).rows] == ["a@1", "c@1"]


@pytest.mark.parametrize("turn", range(5))
def test_a_model_is_deleted_or_named_never_both(store: Store, new_run: NewJob, turn: int) -> None:
    """Whoever comes second, to delete a model or to let an alias lead to it, is told so."""
    model, barrier = new_model(store, new_run), threading.Barrier(2)
    errors: list[type[Exception]] = []

    def run(call: Callable[..., object], *arguments: str) -> None:
        barrier.wait(10)
        try:
            with store.begin() as session:
                call(session, *arguments)
        except (InUse, NotFound) as error:
            errors.append(type(error))

    threads = [
        threading.Thread(target=run, args=(models.delete, model)),
        threading.Thread(target=run, args=(aliases.put, "wine@race", model)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors in ([InUse], [NotFound])
