"""What `make demo` runs: two real data sets through the whole stack, from a JSON file to predictions with error bars.

It starts `trainyard up` in a folder of its own on a free port, types the commands that you would type, and
stops everything that it started: at the end, on Ctrl-C, and when it is killed.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from service.client import Client, Json
from service.programs import StartFailed
from service.stack import temporary_stack

EXAMPLES = Path(__file__).parent
TRAINYARD = [sys.executable, "-m", "service.cli"]
HELD_OUT_PATIENTS = 110
HELD_OUT_DIGITS = 360
SAMPLES = 100

console = Console(highlight=False)


def say(text: str) -> None:
    """Print a line; a terminal may wrap it, a pipe gets it whole."""
    console.print(text, soft_wrap=True)


def main() -> None:
    """Run the demo."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    began = time.monotonic()
    title("Starting: Redis, database, worker and server")
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="trainyard-demo-")))
        with console.status("starting ..."):
            url, _ = running.enter_context(temporary_stack())
        say(f"ready at {url}")
        client = running.enter_context(Client(url))
        show_diabetes(client, folder)
        show_digits(client, folder)
        title("Stopping")
    say(f"Everything has stopped; the demo took {time.monotonic() - began:.0f} s.")
    say("`make run` starts the stack and leaves it running; README.md says how to go on.")


def show_diabetes(client: Client, folder: Path) -> None:
    """Regression: how far does a disease go within a year, give or take?"""
    title("Diabetes: predict a number, with error bars")
    header, *lines = (EXAMPLES / "diabetes.csv").read_text().splitlines()
    training = folder / "diabetes-training.csv"
    training.write_text("\n".join([header, *lines[:-HELD_OUT_PATIENTS]]) + "\n")
    model = train(client, EXAMPLES / "diabetes.json", training)

    held_out = [dict(zip(header.split(","), map(float, line.split(",")), strict=True)) for line in lines]
    held_out = held_out[-HELD_OUT_PATIENTS:]
    truth = np.array([row.pop("progression") for row in held_out])
    predicted = predict(client, model, held_out)
    rmse = np.sqrt(np.mean((np.array([p["mean"] for p in predicted]) - truth) ** 2))
    say(
        f"{HELD_OUT_PATIENTS} patients that the server never saw: RMSE {rmse:.1f}; "
        f"guessing the mean gives {np.std(truth):.1f}"
    )
    surest = np.argsort([p["std"] for p in predicted])
    table = Table("patient", "mean ± std", "5 % ... 95 %", "truth")
    for patient in [*surest[:3], *surest[-3:]]:
        p = predicted[patient]
        low, high = p["quantiles"]["0.05"], p["quantiles"]["0.95"]
        interval = f"{low:.0f} ... {high:.0f}"
        table.add_row(str(patient), f"{p['mean']:.0f} ± {p['std']:.0f}", interval, f"{truth[patient]:.0f}")
    console.print(table)
    say("The first three are those it is surest of, the last three those it doubts most.")
    say("The spread is the network's own doubt about the mean; how much people differ comes on top of it.")


def show_digits(client: Client, folder: Path) -> None:
    """Classification: a convolutional network reads digits, and says where it doubts."""
    title("Digits: a convolutional network that knows when it does not know")
    with np.load(EXAMPLES / "digits.npz") as file:
        images, labels = file["x"], file["y"]
    training = folder / "digits-training.npz"
    np.savez_compressed(training, x=images[:-HELD_OUT_DIGITS], y=labels[:-HELD_OUT_DIGITS])
    model = train(client, EXAMPLES / "digits.json", training)

    held_out, truth = images[-HELD_OUT_DIGITS:].tolist(), labels[-HELD_OUT_DIGITS:].tolist()
    predicted = predict(client, model, [[image] for image in held_out])
    right = np.array([p["label"] == true for p, true in zip(predicted, truth, strict=True)])
    doubt = np.argsort([-p["mutual_information"] for p in predicted])
    half = HELD_OUT_DIGITS // 2
    say(
        f"{HELD_OUT_DIGITS} images that the server never saw: accuracy {right.mean():.3f}; of the half that it doubts "
        f"more {right[doubt[:half]].mean():.3f}, of the other {right[doubt[half:]].mean():.3f}"
    )
    table = Table("image", "label", "probability ± std", "mutual information", "truth")
    for index in [*doubt[:4], *doubt[-3:]]:
        p, true = predicted[index], truth[index]
        sure = f"{p['probabilities'][str(p['label'])]:.2f} ± {p['probabilities_std'][str(p['label'])]:.2f}"
        table.add_row(str(index), str(p["label"]), sure, f"{p['mutual_information']:.3f}", str(true))
    console.print(table)
    say("The first four are those it doubts most, the last three those it is surest of.")


def train(client: Client, spec: Path, data: Path) -> str:
    """Submit with the command line, watch the job to its end, and return the model's id."""
    type_and_run("submit", os.path.relpath(spec), "--data", str(data), "--watch", url=client.url)
    newest = client.newest("jobs", 1)[0]
    return str(newest["model"])


def predict(client: Client, model: str, rows: Sequence[object]) -> list[Json]:
    """Return predictions with spread."""
    answer = client.predict(model, rows, mc_samples=SAMPLES, seed=0, quantiles=[0.05, 0.95])
    layers = ", ".join(answer["stochastic_layers"])
    say(f"\n{len(rows)} rows predicted, {answer['mc_samples']} samples of the dropout in {layers} each")
    return list(answer["predictions"])


def type_and_run(*arguments: str, url: str) -> None:
    """Show a command as one would type it, and run it."""
    say(f"[bold]$ trainyard {' '.join(arguments)}[/bold]")
    done = subprocess.run([*TRAINYARD, *arguments, "--url", url], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def title(text: str) -> None:
    """Begin a part."""
    say(f"\n[bold cyan]{text}[/bold cyan]")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except StartFailed as error:
        sys.exit(str(error))
