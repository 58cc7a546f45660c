"""The schema: built by the migrations, equal to the tables, and refused when it is another."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text

import migrations
from service.errors import SchemaMismatch, Unavailable
from service.store import schema, workers
from service.store.engine import Store, open_store
from service.store.tables import Job, Table

HEAD = max(path.name[:4] for path in Path(migrations.__path__[0]).glob("versions/[0-9]*.py"))


def differences(store: Store) -> object:
    with store.engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), Table.metadata)


def set_revision(store: Store, revision: str) -> None:
    with store.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :new"), {"new": revision})


def test_the_migrations_make_exactly_the_tables(store: Store) -> None:
    assert differences(store) == []


def test_defaults_are_those_of_the_tables(store: Store) -> None:
    """What `compare_metadata` does not compare: server defaults and how rows are laid out."""
    with store.engine.begin() as connection:
        migrated = {name: inspect(connection).get_columns(name) for name in Table.metadata.tables}
        connection.execute(text("DROP TABLE alembic_version"))
        Table.metadata.drop_all(connection)
        Table.metadata.create_all(connection)
        created = {name: inspect(connection).get_columns(name) for name in Table.metadata.tables}
    assert [{**c, "type": str(c["type"])} for t in migrated for c in sorted(migrated[t], key=lambda c: c["name"])] == [
        {**c, "type": str(c["type"])} for t in migrated for c in sorted(created[t], key=lambda c: c["name"])
    ]


def test_a_migrated_database_is_accepted(store: Store) -> None:
    schema.check(store)


def test_an_empty_database_is_refused_and_brought_up_to_date(empty_database_url: str) -> None:
    store = open_store(empty_database_url)
    with pytest.raises(SchemaMismatch, match=rf"empty.*needs {HEAD}.*`trainyard migrate`"):
        schema.check(store)
    schema.upgrade(empty_database_url)
    schema.check(store)
    assert differences(store) == []
    store.dispose()


def test_upgrading_again_changes_nothing(store: Store) -> None:
    with store.begin() as session:
        workers.beat(session, "w", host="h", pid=1, slots=1)
    schema.upgrade(store.engine.url.render_as_string(hide_password=False))
    with store.read() as session:
        assert len(workers.alive(session, 60)) == 1


def test_jobs_of_before_the_queue_had_an_order_keep_their_device(empty_database_url: str) -> None:
    store = open_store(empty_database_url)
    migrate(store, "0004")
    devices = {"a": '{"training": {"device": "cuda"}}', "b": '{"training": {"device": "cpu"}}', "c": "{}"}
    with store.begin() as session:
        for job_id, spec in devices.items():
            columns, values = "id, spec, spec_sha256, dataset, data_sha256, seed", ":id, :spec, '', '', '', 0"
            session.execute(text(f"INSERT INTO jobs ({columns}) VALUES ({values})"), {"id": job_id, "spec": spec})
    schema.upgrade(empty_database_url)
    with store.read() as session:
        rows = session.execute(select(Job.submitter, Job.priority, Job.device).order_by(Job.id)).tuples().all()
    assert rows == [("anonymous", 0, device) for device in ("cuda", "cpu", "auto")]
    migrate(store, "0004", command.downgrade)
    schema.upgrade(empty_database_url)
    assert differences(store) == []
    store.dispose()


def test_aliases_stay_when_models_learn_to_have_no_job(empty_database_url: str) -> None:
    store = open_store(empty_database_url)
    migrate(store, "0008")
    blob = "INSERT INTO blobs (sha256, size) VALUES ('b', 1)"
    columns = "id, job, spec, task, columns, preprocessing, metrics, receipt, weights_sha256, size, parameters"
    values = "'mdl_a', 'job_a', '{}', 't', '[]', '{}', '{}', '{}', 'b', 1, 1"
    model = f"INSERT INTO models ({columns}) VALUES ({values})"
    alias = "INSERT INTO aliases (name, model) VALUES ('wine@production', 'mdl_a')"
    with store.begin() as session:
        for statement in (blob, model, alias):
            session.execute(text(statement))
    schema.upgrade(empty_database_url)
    with store.begin() as session:
        assert session.execute(text("SELECT name, model FROM aliases")).all() == [("wine@production", "mdl_a")]
        session.execute(text(model.replace("'mdl_a', 'job_a'", "'mdl_b', NULL")))
        session.execute(text("INSERT INTO aliases (name, model) VALUES ('wine@file', 'mdl_b')"))
    migrate(store, "0008", command.downgrade)
    with store.begin() as session:
        assert session.execute(
            text("SELECT models.id, aliases.name FROM models JOIN aliases ON model = models.id")
        ).all() == [("mdl_a", "wine@production")]
    schema.upgrade(empty_database_url)
    assert differences(store) == []
    store.dispose()


def migrate(store: Store, revision: str, step: Callable[..., None] = command.upgrade) -> None:
    config = schema._config()
    with store.begin() as session:
        config.attributes["connection"] = session.connection()
        step(config, revision)


def test_processes_that_upgrade_at_once_take_turns(empty_database_url: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(schema.upgrade, [empty_database_url] * 6))
    store = open_store(empty_database_url)
    schema.check(store)
    store.dispose()


def test_a_database_of_a_newer_version_is_refused(store: Store) -> None:
    set_revision(store, "9999")
    with pytest.raises(SchemaMismatch, match=r"ahead.*9999.*Install the newer version"):
        schema.check(store)
    with pytest.raises(SchemaMismatch, match="ahead"):
        schema.upgrade(store.engine.url.render_as_string(hide_password=False))


def test_an_older_database_is_refused_and_told_what_to_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptDirectory, "get_current_head", lambda self: "9999")
    with pytest.raises(SchemaMismatch, match=rf"behind.*at revision {HEAD}.*needs 9999.*`trainyard migrate`"):
        schema.check(store)


def test_a_database_of_somebody_else_is_left_alone(empty_database_url: str) -> None:
    store = open_store(empty_database_url)
    with store.begin() as session:
        session.execute(text("CREATE TABLE jobs (id INTEGER)"))
    with pytest.raises(SchemaMismatch, match="tables named jobs"):
        schema.upgrade(empty_database_url)
    with store.engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["jobs"]
    store.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(empty_database_url)
    real = command.upgrade

    def half(*arguments: Any) -> None:
        real(*arguments)
        raise RuntimeError("power cut")

    monkeypatch.setattr(command, "upgrade", half)
    with pytest.raises(RuntimeError, match="power cut"):
        schema.upgrade(empty_database_url)
    with store.engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    store.dispose()


def test_a_path_with_a_percent_sign_works(tmp_path: Path) -> None:
    schema.upgrade(f"sqlite:///{tmp_path}/50%25 off/trainyard.db")
    assert [path.name for path in tmp_path.iterdir()] == ["50%25 off"]


def test_upgrading_what_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        schema.upgrade("postgresql://u@127.0.0.1:1/d")


def test_postgresql_does_not_try_to_shrink_chunks(postgres_store: Store) -> None:
    storage = text("SELECT attstorage FROM pg_attribute WHERE attrelid = 'chunks'::regclass AND attname = 'data'")
    with postgres_store.read() as session:
        assert session.scalar(storage) in ("e", b"e")
