"""The commands of `trainyard` that talk to a running server."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from service.client import Client, ClientError, Job, Json
from service.settings import Settings
from service.terminal import print_summary, print_table, say, view

commands = typer.Typer()

Url = Annotated[
    str | None, typer.Option(help="Address of the server; default: TRAINYARD_URL, else what runs in the home folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many to show, newest first.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job, job_...")]
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="JSON file of the job, or - for standard input.")]
Submitter = Annotated[str | None, typer.Option(help="In whose name; default: TRAINYARD_SUBMITTER, else anonymous.")]
Data = Annotated[Path | None, typer.Option(help="File to upload; its id is filled in as data.dataset.")]


@commands.command()
def submit(
    spec: Spec,
    data: Data = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the progress until the job has ended.")] = False,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take the finished job of the same spec and data if there is one.")
    ] = False,
    submitter: Submitter = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Ask for a training job."""
    with client_of(url, submitter) as client:
        job = client.submit(_filled_in(_read_spec(spec), client, data), reuse=reuse)
        if watch:
            _watch(client, job.id, as_json)
        elif as_json:
            print_json(client.request("GET", f"/v1/jobs/{job.id}"))
        else:
            say(f"{job.id} is {job.status}; follow it with: trainyard watch {job.id}")


@commands.command()
def validate(
    spec: Spec,
    data: Data = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show what a job would do, without doing it: shapes, sizes and advice."""
    with client_of(url) as client:
        answer = client.validate(_filled_in(_read_spec(spec), client, data))
    if as_json:
        print_json(answer)
    else:
        print_summary(answer)


@commands.command()
def jobs(
    status: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    submitter: Annotated[str | None, typer.Option(help="Only jobs of this submitter.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List jobs."""
    with client_of(url) as client:
        found = client.newest("jobs", limit, status=status, submitter=submitter)
    if as_json:
        print_json(found)
        return
    rows = [Job.model_validate(job) for job in found]
    columns = ["job", "name", "status", "epoch", "done", "model"]
    print_table(
        columns, [(j.id, j.name, j.status, j.progress.epoch, _percent(j.progress.fraction), j.model) for j in rows]
    )


@commands.command()
def watch(job: JobId, as_json: AsJson = False, url: Url = None) -> None:
    """Show the progress of a job until it has ended."""
    with client_of(url) as client:
        _watch(client, job, as_json)


@commands.command()
def metrics(
    job: JobId,
    name: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    split: Annotated[str | None, typer.Option(help="Only train, validation or test.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show what was measured while a job ran."""
    with client_of(url) as client:
        found = client.metrics(job, name=name, split=split)
    if as_json:
        print_json([metric.model_dump() for metric in found])
    else:
        columns = ["epoch", "step", "split", "name", "value"]
        print_table(columns, [(m.epoch, m.step, m.split, m.name, m.value) for m in found])


@commands.command()
def models(limit: Limit = 20, as_json: AsJson = False, url: Url = None) -> None:
    """List trained models."""
    with client_of(url) as client:
        found = client.newest("models", limit)
    if as_json:
        print_json(found)
    else:
        print_table(["model", "name", "task", "job"], [(m["id"], m.get("name"), m["task"], m["job"]) for m in found])


@commands.command()
def datasets(limit: Limit = 20, as_json: AsJson = False, url: Url = None) -> None:
    """List data sets."""
    with client_of(url) as client:
        found = client.newest("datasets", limit)
    if as_json:
        print_json(found)
    else:
        columns = ["data set", "name", "rows", "columns"]
        print_table(columns, [(d["id"], d["name"], d["rows"], len(d["columns"])) for d in found])


def settings_of(**given: Any) -> Settings:
    """Return the settings of the environment, with what the command line says in their place."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [f"TRAINYARD_{str(e['loc'][0]).upper()}: {e['msg']}; got {e['input']!r}" for e in error.errors()]
        raise ClientError("\n".join(lines)) from error


def client_of(url: str | None, submitter: str | None = None) -> Client:
    """Return the client of the server that is asked for, else of the one that runs from the home folder."""
    settings = settings_of(url=url, submitter=submitter)
    published = settings.home / "url"
    if "url" not in settings.model_fields_set and published.exists():
        return Client(published.read_text().strip(), settings.submitter)
    return Client(settings.url, settings.submitter)


def _read_spec(source: str) -> Json:
    try:
        value = json.loads(sys.stdin.read() if source == "-" else Path(source).read_bytes())
    except OSError as error:
        raise ClientError(f"cannot read {source}: {error.strerror}") from error
    except ValueError as error:
        raise ClientError(f"{source} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ClientError(f"{source} holds no specification: it must be a JSON object")
    return value


def _filled_in(spec: Json, client: Client, file: Path | None) -> Json:
    """Return the spec with `data.dataset` naming the uploaded file."""
    if file is None:
        return spec
    try:
        dataset = client.upload(file)
    except OSError as error:
        raise ClientError(f"cannot read {file}: {error.strerror}") from error
    section = spec.get("data", {})
    # A section that is no object stays as it is: the server says what is wrong with it.
    return spec | {"data": section | {"dataset": dataset["id"]} if isinstance(section, dict) else section}


def _watch(client: Client, job_id: str, as_json: bool) -> None:
    """Follow a job to its end; any end but success is exit code 1."""
    if as_json:
        job = client.wait(job_id)
        print_json(client.request("GET", f"/v1/jobs/{job_id}"))
    else:
        try:
            with view() as shown:
                for job, fresh in client.watch(job_id):
                    shown.show(job, fresh)
        except KeyboardInterrupt:
            say(f"\n{job_id} goes on; follow it again with: trainyard watch {job_id}", error=True)
            raise typer.Exit(130) from None
        _print_end(client, job)
    if job.status != "succeeded":
        raise typer.Exit(1)


def _print_end(client: Client, job: Job) -> None:
    if job.error:
        say(f"{job.id} failed ({job.error.code}): {job.error.message}", error=True)
    elif job.model:
        measured = [metric for metric in client.metrics(job.id, split="test") if metric.value is not None]
        line = "  ".join(f"{metric.name} {metric.value:.4g}" for metric in measured)
        say(f"{job.id} succeeded" + (f"; on rows held out for the test: {line}" if line else ""))
        say(f"predict with: trainyard predict {job.model} ROWS")
    else:
        say(f"{job.id} was {job.status}")


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.0f} %"


def print_json(value: object) -> None:
    """Print a value as the server sent it."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
