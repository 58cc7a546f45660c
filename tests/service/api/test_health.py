from typing import Any

from service.settings import Settings
from service.store import workers
from service.store.engine import open_store


def test_the_process_answers(api: Any) -> None:
    answer = api.client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["version"]


def test_ready_when_store_broker_and_a_worker_answer(own: Any) -> None:
    answer = own.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "worker" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    store = open_store(own.settings.effective_database_url)
    with store.begin() as session:
        workers.beat(session, "w", host="h", pid=1, slots=1)
    store.dispose()
    answer = own.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "store": "ok", "broker": "ok", "workers": 1},
    )


def test_a_broker_that_does_not_answer_is_named(settings: Settings, serving: Any) -> None:
    nowhere = settings.model_copy(update={"broker_url": f"redis+socket://{settings.home}/nobody.sock"})
    with serving(nowhere) as api:
        answer = api.client.get("/readyz")
        assert answer.status_code == 503
        assert "broker" in answer.json()["detail"]
        assert api.client.get("/healthz").status_code == 200


def test_every_link_leads_somewhere(api: Any) -> None:
    links = api.client.get("/").json()["links"]
    for path in links.values():
        assert api.client.get(path).status_code in (200, 405, 503), path
