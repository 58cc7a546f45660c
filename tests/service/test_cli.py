"""The command line against a real server, without a worker: what it sends, shows, and says when something is wrong."""

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import safetensors.torch
import uvicorn

from service.api.app import create_app
from service.cli import main
from service.client import Client, Unreachable
from service.settings import Settings
from tests.support import every_block
from tests.support.untrained import exported, untrained

EXAMPLES = Path(__file__).parents[2] / "examples"
WINE = str(EXAMPLES / "wine.json")
DATA = str(EXAMPLES / "wine.csv")

Run = Callable[..., str]


@pytest.fixture(scope="module")
def url(sqlite_template: Path, redis_socket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that takes jobs; nobody trains them."""
    home = tmp_path_factory.mktemp("cli")
    shutil.copy(sqlite_template, home / "trainyard.db")
    settings = Settings(
        home=home, broker_url=f"redis+socket://{redis_socket}", log_level="ERROR", reconcile_seconds=3600
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning"))
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return what it printed, or with `fails`, its complaint."""
    monkeypatch.setenv("TRAINYARD_URL", url)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, fails: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["trainyard", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        assert (end.value.code or 0) == fails, said
        assert (said.out if fails else said.err) == ""
        return said.err if fails else said.out

    return command


def test_submit_uploads_and_fills_in_the_dataset(run: Run) -> None:
    said = run("submit", WINE, "--data", DATA)
    job_id = said.split()[0]
    assert said == f"{job_id} is queued; follow it with: trainyard watch {job_id}\n"
    newest, *_ = json.loads(run("jobs", "--json"))
    assert (newest["id"], newest["name"]) == (job_id, "wine")
    dataset, *_ = json.loads(run("datasets", "--json", "--limit", "1"))
    assert (dataset["id"], dataset["name"], dataset["rows"]) == (newest["dataset"], "wine.csv", 178)


def test_a_specification_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(WINE).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        job = json.loads(run("submit", "-", "--data", DATA, "--json"))
    assert job["status"] == "queued"


def test_lists_are_tables(run: Run) -> None:
    job_id = run("submit", WINE, "--data", DATA).split()[0]
    header, first, *_ = run("jobs").splitlines()
    assert header.split() == ["job", "name", "status", "epoch", "done", "model"]
    assert first.split() == [job_id, "wine", "queued", "0", "0", "%", "-"]
    assert run("datasets").splitlines()[1].split()[1:] == ["wine.csv", "178", "14"]
    assert run("models") == "(none)\n"
    assert run("metrics", job_id) == "(none)\n"


def test_jobs_are_submitted_in_somebodys_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(run("submit", WINE, "--data", DATA, "--json"))["submitter"] == "anonymous"
    monkeypatch.setenv("TRAINYARD_SUBMITTER", "ada")
    hers = run("submit", WINE, "--data", DATA).split()[0]
    other = run("submit", WINE, "--data", DATA, "--submitter", "bob").split()[0]
    for name, job_id in (("ada", hers), ("bob", other)):
        assert [job["id"] for job in json.loads(run("jobs", "--submitter", name, "--json"))] == [job_id]
    assert "TRAINYARD_SUBMITTER: " in run("submit", WINE, "--submitter", " ", fails=1)


def test_cancel(run: Run) -> None:
    job_id = run("submit", WINE, "--data", DATA).split()[0]
    assert run("cancel", job_id) == f"{job_id} is cancelled\n"
    assert run("jobs", "--status", "cancelled", "--limit", "1").splitlines()[1].startswith(job_id)


def test_watching_a_job_that_does_not_succeed_is_a_failure(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = run("submit", WINE, "--data", DATA).split()[0]
    run("cancel", job_id)
    monkeypatch.setattr(sys, "argv", ["trainyard", "watch", job_id])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().out == f"cancelled  epoch 0/80\n{job_id} was cancelled\n"


def test_validate_shows_the_layers_and_the_advice(run: Run, tmp_path: Path) -> None:
    spec = json.loads(Path(WINE).read_text())
    spec["network"]["layers"][1]["rate"] = 0.9
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    said = run("validate", "spec.json", "--data", DATA)
    assert said.splitlines()[1].split() == ["network.layers[0]", "dense", "128", "1792", "1664"]
    assert "2,179 parameters" in said
    assert "network.layers[1].rate: " in said


def test_every_mistake_is_a_line(run: Run, tmp_path: Path) -> None:
    spec = json.loads(Path(WINE).read_text())
    spec["network"]["layers"][0]["units"] = 0
    spec["loss"] = "cross_entrophy"
    spec["training"]["epochs"] = "many"
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    lines = run("submit", "spec.json", "--data", DATA, fails=1).splitlines()
    assert lines[0] == "The job specification is not valid. (invalid_spec)"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["network.layers[0].units", "loss", "training.epochs"]
    assert "cross_entropy" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["submit", "missing.json"], "trainyard: cannot read missing.json: No such file or directory\n"),
        (["submit", WINE, "--data", "missing.csv"], "trainyard: cannot read missing.csv: No such file or directory\n"),
        (["submit", DATA], f"trainyard: {DATA} is not JSON: Expecting value: line 1 column 1 (char 0)\n"),
        (["watch", "job_" + "0" * 26], "There is nothing with this id. (not_found)\n"),
        (["predict", "mdl_" + "0" * 26, "[[1]]"], "There is nothing with this id. (not_found)\n"),
        (["evaluate", "mdl_" + "0" * 26, "ds_" + "0" * 26], "There is nothing with this id. (not_found)\n"),
        (["importance", "mdl_" + "0" * 26, "ds_" + "0" * 26], "There is nothing with this id. (not_found)\n"),
    ],
)
def test_complaints_are_sentences(run: Run, arguments: list[str], complaint: str) -> None:
    assert run(*arguments, fails=1).startswith(complaint)


def test_a_specification_is_an_object(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    assert run("submit", "list.json", fails=1) == (
        "trainyard: list.json holds no specification: it must be a JSON object\n"
    )


def test_a_data_section_that_is_no_object_is_the_servers_to_refuse(run: Run, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(json.loads(Path(WINE).read_text()) | {"data": 3}))
    assert "  data: " in run("submit", "spec.json", "--data", DATA, fails=1)


def test_a_server_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    said = run("jobs", "--url", f"http://127.0.0.1:{port}", fails=1)
    assert said.startswith(f"trainyard: No Trainyard answers at http://127.0.0.1:{port} (")
    assert "trainyard up" in said
    assert said.count("\n") == 1


def test_the_server_of_the_home_folder_is_found(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TRAINYARD_URL")
    (tmp_path / ".trainyard").mkdir()
    (tmp_path / ".trainyard" / "url").write_text(f"{url}\n")
    assert json.loads(run("models", "--json")) == []


def test_a_setting_that_is_not_allowed_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_SLOTS", "none")
    assert run("jobs", fails=1).startswith("trainyard: TRAINYARD_SLOTS: Input should be a valid integer")


class Stranger(BaseHTTPRequestHandler):
    """Some other web server."""

    def do_GET(self) -> None:
        missing = self.path.startswith("/v1/jobs")
        self.send_response(502 if missing else 200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_somebody_else_on_the_port(run: Run) -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        other = f"http://127.0.0.1:{server.server_port}"
        try:
            assert run("jobs", "--url", other, fails=1) == "HTTP 502 Bad Gateway\n"
            assert "is no Trainyard" in run("models", "--url", other, fails=1)
        finally:
            server.shutdown()
            thread.join()


def test_uploads_come_with_their_type_and_are_streamed(url: str, tmp_path: Path) -> None:
    rows = [{"a": number, "b": str(number)} for number in range(3)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "rows.ndjson").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "rows.tsv").write_text("a\tb\n1\tx\n2\ty\n3\tz\n")
    with Client(url) as client:
        for file in sorted(tmp_path.iterdir()):
            dataset = client.upload(file)
            assert (dataset["name"], dataset["rows"]) == (file.name, 3)
            assert [column["name"] for column in dataset["columns"]] == ["a", "b"]


def test_a_model_goes_in_and_out_as_a_file(run: Run, url: str, tmp_path: Path) -> None:
    kind, content = every_block.DATA["table"]
    data = exported(untrained(content, kind, every_block.specification("table", name="wine")))
    (tmp_path / "first.safetensors").write_bytes(data)
    said = run("import", "first.safetensors")
    model = next(word for word in said.split() if word.startswith("mdl_"))
    assert f"trainyard predict {model} ROWS" in said
    # The line of a model without a job has a gap, not a "None".
    listed = next(line.split() for line in run("models").splitlines() if model in line)
    assert listed[1:] == ["wine", "classification", "-"]
    assert run("export", model, "-o", "second.safetensors").startswith("second.safetensors: ")
    assert json.loads(run("import", "second.safetensors", "--name", "other", "--json"))["name"] == "other"
    assert f"{model}.safetensors: " in run("export", model)
    assert safetensors.torch.load_file(tmp_path / f"{model}.safetensors")
    with Client(url) as client:
        for found in client.newest("models", 10):
            client.request("DELETE", f"/v1/models/{found['id']}")


def test_a_file_that_cannot_be_carried_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    nobody = "mdl_" + "0" * 26
    assert "(not_found)" in run("export", nobody, "-o", "model", fails=1)
    assert "cannot write" in run("export", nobody, "-o", "no/such/folder/model", fails=1)
    assert "'gif'" in run("export", nobody, "--format", "gif", fails=2)
    assert "cannot read nothing" in run("import", "nothing", fails=1)
    (tmp_path / "odd").write_bytes(b"odd")
    assert "(invalid_model)" in run("import", "odd", fails=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd"]


def test_an_address_that_is_none() -> None:
    with Client("nonsense") as client, pytest.raises(Unreachable, match="No Trainyard answers at nonsense"):
        client.job("job_1")


def test_proxies_are_not_for_servers_on_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Client(url) as client:
        assert client.newest("models", 1) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
