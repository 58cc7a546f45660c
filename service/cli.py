"""`trainyard`: run the service, and talk to one that runs. Imports neither torch nor the server."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.client import ClientError, Refused
from service.commands import commands, settings_of
from service.exporting import exporting
from service.judging import judging
from service.predicting import predicting
from service.programs import StartFailed
from service.settings import Settings
from service.stack import migrate_command, predictor_command, server_command, up, work, worker_commands
from service.steering import steering
from service.terminal import problem_lines, say

app = typer.Typer(
    name="trainyard",
    help="Train networks from a JSON description, and predict with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Home = Annotated[Path | None, typer.Option(help="Folder of the database, the Redis socket and the logs.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 finds a free one.")]
Slots = Annotated[int | None, typer.Option(min=1, help="Jobs that the worker trains at the same time, on each GPU.")]


@app.command("up")
def run_up(home: Home = None, host: Host = None, port: Port = None, slots: Slots = None) -> None:
    """Run everything here: database, Redis, worker and server. Ctrl-C stops it all."""
    up(settings_of(home=home, host=host, port=port, slots=slots), say)


@app.command()
def serve(home: Home = None, host: Host = None, port: Port = None) -> None:
    """Run the HTTP server alone."""
    settings = settings_of(home=home, host=host, port=port)
    _become(server_command(settings), settings)


@app.command()
def worker(home: Home = None, slots: Slots = None) -> None:
    """Run a worker alone; with slots on CPU and GPU, one of each."""
    settings = settings_of(home=home, slots=slots)
    commands = list(worker_commands(settings).values())
    if len(commands) == 1:
        _become(commands[0], settings)
    work(settings, say)


@app.command()
def predictor(home: Home = None) -> None:
    """Run a predictor alone: it makes queued predictions, whatever is being trained."""
    _become(predictor_command(), settings_of(home=home))


@app.command()
def migrate(home: Home = None) -> None:
    """Bring the database up to date."""
    _become(migrate_command(), settings_of(home=home))


app.add_typer(commands)
app.add_typer(steering)
app.add_typer(judging)
app.add_typer(predicting)
app.add_typer(exporting)


def _become(command: list[str], settings: Settings) -> None:
    sys.stdout.flush()
    os.execve(command[0], command, settings.environment())


def main() -> None:
    """Run the command line. What goes wrong is said in sentences, with exit code 1."""
    try:
        app()
    except Refused as error:
        say("\n".join(problem_lines(error)), error=True)
    except (ClientError, StartFailed) as error:
        say(f"trainyard: {error}", error=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
