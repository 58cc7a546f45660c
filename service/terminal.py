"""What the command line shows: tables, problems, and the progress of a job as a bar or as lines."""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from service.client import InvalidValue, Job, Json, Metric, Refused

PIPE_WIDTH = 200
"""Columns where the output is no terminal: wide enough that no id is cut."""
LINE_SECONDS = 1.0
SHOWN_ALLOWED = 300


def console(error: bool = False) -> Console:
    """Return the console of standard output or standard error."""
    stream = sys.stderr if error else sys.stdout
    return Console(stderr=error, highlight=False, width=None if stream.isatty() else PIPE_WIDTH)


def say(text: str, error: bool = False) -> None:
    """Print text as it is; a terminal may wrap it, a pipe gets whole lines."""
    console(error).print(text, markup=False, soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "none") -> None:
    """Print a table; `empty` says in words that it has no rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row))
    console().print(table if table.row_count else f"({empty})")


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def problem_lines(error: Refused) -> list[str]:
    """Return the server's problem as people read it: what, and for each value where, why and what would be right."""
    problem = error.problem
    if not problem.code:  # some proxy's error, not ours
        return [problem.detail]
    headline = f"{problem.title} ({problem.code})"
    if problem.errors:
        return [headline, *(f"  {_problem_line(value)}" for value in problem.errors)]
    return [headline] if problem.detail == problem.title else [headline, f"  {problem.detail}"]


def _problem_line(value: InvalidValue) -> str:
    line = f"{value.path or '(the whole body)'}: {value.message}"
    if value.got is not None:
        line += f"; got {value.got!r}"
    if value.allowed is not None:
        line += f" (allowed: {_allowed(value.allowed)})"
    return line


def _allowed(allowed: object) -> str:
    if isinstance(allowed, dict):
        text = ", ".join(f"{name} {value}" for name, value in allowed.items())
    else:
        text = ", ".join(map(str, allowed)) if isinstance(allowed, list) else str(allowed)
    return text if len(text) <= SHOWN_ALLOWED else text[:SHOWN_ALLOWED] + " ..."


class View(Protocol):
    """Shows a job while it runs."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def show(self, job: Job, metrics: list[Metric]) -> None:
        """Show the job as it is now; `metrics` are those that are new."""


def view() -> View:
    """Return a progress bar for a terminal, plain lines for anything else."""
    return BarView() if console().is_terminal else LineView()


class Latest:
    """The newest value of every metric of training and validation."""

    def __init__(self) -> None:
        self.values: dict[str, float | None] = {}

    def update(self, metrics: list[Metric]) -> None:
        """Take in new metrics, which come in the order of their steps."""
        for metric in metrics:
            if metric.split in ("train", "validation") and metric.name not in ("batch_loss", "learning_rate"):
                self.values[("val_" if metric.split == "validation" else "") + metric.name] = metric.value

    def text(self) -> str:
        """Return the values in a line: losses first, then what validation measures."""
        losses = ["loss", "val_loss"]
        names = [name for name in losses if name in self.values]
        names += [name for name in self.values if name.startswith("val_") and name != "val_loss"]
        return "  ".join(f"{name} {_text(self.values[name])}" for name in names[:4])


class BarView:
    """A bar that fills, with the latest metrics, the speed and the time that is left."""

    def __init__(self) -> None:
        self.latest = Latest()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24, complete_style="green", finished_style="green"),
            TextColumn("{task.fields[epoch]}  {task.fields[metrics]}  {task.fields[speed]}", markup=False),
            console=console(),
        )
        self.task = self.progress.add_task("queued", total=1.0, epoch="", metrics="", speed="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def show(self, job: Job, metrics: list[Metric]) -> None:
        """Move the bar."""
        self.latest.update(metrics)
        self.progress.update(
            self.task,
            description=f"{job.status:<9}",
            completed=1.0 if job.status == "succeeded" else job.progress.fraction or 0.0,
            epoch=_epoch(job),
            metrics=self.latest.text(),
            speed=_speed(job),
        )


class LineView:
    """A line for a new state and for the newest epoch, one a second at most."""

    def __init__(self) -> None:
        self.latest = Latest()
        self.shown: tuple[str, int] = ("", 0)
        self.shown_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, job: Job, metrics: list[Metric]) -> None:
        """Print a line when there is something to tell."""
        self.latest.update(metrics)
        state = (job.status, job.progress.epoch)
        soon = time.monotonic() - self.shown_at < LINE_SECONDS and job.status == self.shown[0]
        if state != self.shown and not soon:
            self.shown, self.shown_at = state, time.monotonic()
            parts = [f"{job.status:<9}", _epoch(job), self.latest.text(), _speed(job)]
            print("  ".join(part for part in parts if part), flush=True)


def _epoch(job: Job) -> str:
    of = f"/{job.progress.total_epochs}" if job.progress.total_epochs else ""
    return f"epoch {job.progress.epoch}{of}" if job.status != "queued" else ""


def _speed(job: Job) -> str:
    speed, eta = job.progress.samples_per_second, job.progress.eta_seconds
    parts = [f"{speed:,.0f} samples/s"] if speed else []
    if eta and job.status == "running":
        parts.append(f"{eta:.0f} s left")
    return "  ".join(parts)


def print_summary(answer: Json) -> None:
    """Print the layers of a network, what it takes, and the advice on it."""
    layers = answer["layers"]
    columns = ["layer", "type", "output shape", "parameters", "multiply-adds"]
    names = ("path", "type", "output_shape", "parameters", "multiply_adds")
    print_table(columns, [[layer[name] for name in names] for layer in layers])
    say(f"{answer['parameters']:,} parameters, {answer['multiply_adds']:,} multiply-adds a row")
    for advice in answer["advice"]:
        say(f"{advice['path']}: {advice['reason']} {advice['mend']} ({advice['code']}; {advice['source']})")


def print_predictions(answer: Json) -> None:
    """Print one line a row: what is predicted, and how sure the model is."""
    predictions = answer["predictions"]
    if predictions and "probabilities" in predictions[0]:
        print_table(
            ["row", "label", "probabilities (mean ± std)", "entropy", "mutual information"],
            [
                (
                    row,
                    p.get("label", p.get("labels")),
                    _probabilities(p),
                    p["predictive_entropy"],
                    p["mutual_information"],
                )
                for row, p in enumerate(predictions)
            ],
        )
    else:
        quantiles = list(predictions[0]["quantiles"]) if predictions else []
        print_table(
            ["row", "mean", "std", *(f"quantile {q}" for q in quantiles)],
            [(row, p["mean"], p["std"], *p["quantiles"].values()) for row, p in enumerate(predictions)],
        )
    layers = ", ".join(answer["stochastic_layers"]) or "no layer"
    say(f"{answer['mc_samples']} Monte-Carlo samples, seed {answer['seed']}; dropout in: {layers}")
    if answer.get("note"):
        say(answer["note"])


def _probabilities(prediction: Json, most: int = 3) -> str:
    """Return the likeliest classes with their probability and its spread."""
    ordered = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])[:most]
    spread = prediction["probabilities_std"]
    return "  ".join(f"{name} {share:.3f} ± {spread[name]:.3f}" for name, share in ordered)
