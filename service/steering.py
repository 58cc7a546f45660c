"""The commands of `trainyard` that steer jobs: pause, resume, cancel, kill, retry, extend."""

import json
from typing import Annotated

import typer

from service.client import ClientError, Json
from service.commands import JobId, Submitter, Url, client_of
from service.terminal import say

steering = typer.Typer()


@steering.command()
def pause(job: JobId, url: Url = None) -> None:
    """Stop a job at its next step, to go on later."""
    _command(job, "pause", url)


@steering.command()
def resume(job: JobId, url: Url = None) -> None:
    """Have a paused job go on."""
    _command(job, "resume", url)


@steering.command()
def cancel(job: JobId, url: Url = None) -> None:
    """Stop a job at its next step."""
    _command(job, "cancel", url)


@steering.command()
def kill(job: JobId, url: Url = None) -> None:
    """Stop a job at once."""
    _command(job, "kill", url)


@steering.command()
def retry(job: JobId, url: Url = None) -> None:
    """Try a job again that has failed or was cancelled, from its last checkpoint."""
    _command(job, "retry", url)


@steering.command()
def extend(
    job: JobId,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs to train beyond those that are done.")],
    settings: Annotated[str, typer.Option("--set", metavar="JSON", help="Settings that change, by their path.")] = "{}",
    submitter: Submitter = None,
    url: Url = None,
) -> None:
    """Train a job that has succeeded for longer, as a new job."""
    with client_of(url, submitter) as client:
        longer = client.extend(job, epochs, _read(settings))
        say(f"{longer.id} is {longer.status}; follow it with: trainyard watch {longer.id}")


def _command(job: str, name: str, url: str | None) -> None:
    with client_of(url) as client:
        say(f"{job} is {client.command(job, name).status}")


def _read(settings: str) -> Json:
    try:
        value = json.loads(settings)
    except ValueError as error:
        raise ClientError(f"--set is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ClientError('--set must be a JSON object, e.g. {"optimizer.learning_rate": 0.0001}')
    return value
