"""What the command line prints."""

import pytest

from service.client import InvalidValue, Job, Metric, Problem, Progress, Refused
from service.terminal import BarView, LineView, print_predictions, print_table, problem_lines, view


def metric(name: str, split: str, value: float | None, step: int = 10) -> Metric:
    return Metric(name=name, split=split, epoch=1, step=step, value=value)


def job(status: str, epoch: int = 0, **progress: float | None) -> Job:
    return Job(id="job_1", status=status, progress=Progress(epoch=epoch, total_epochs=20, **progress))


def test_every_wrong_value_is_a_line() -> None:
    values = [
        InvalidValue(path="loss", message="is no loss", got="mee", allowed=["mse", "mae"]),
        InvalidValue(path="training.epochs", message="must be at least 1", got=0, allowed={"ge": 1}),
        InvalidValue(path="", message="is required"),
    ]
    error = Refused(
        Problem(status=422, title="The job is not valid.", detail="long", code="invalid_spec", errors=values)
    )
    assert problem_lines(error) == [
        "The job is not valid. (invalid_spec)",
        "  loss: is no loss; got 'mee' (allowed: mse, mae)",
        "  training.epochs: must be at least 1; got 0 (allowed: ge 1)",
        "  (the whole body): is required",
    ]


def test_a_problem_without_values_says_what_happened() -> None:
    error = Refused(Problem(status=404, title="There is nothing.", detail="There is no job_2.", code="not_found"))
    assert problem_lines(error) == ["There is nothing. (not_found)", "  There is no job_2."]
    assert problem_lines(Refused(Problem(status=502, detail="HTTP 502 Bad Gateway"))) == ["HTTP 502 Bad Gateway"]


def test_long_lists_of_what_is_allowed_are_cut() -> None:
    value = InvalidValue(path="x", message="is unknown", allowed=[f"name{i}" for i in range(999)])
    line = problem_lines(Refused(Problem(status=422, title="No.", code="c", errors=[value])))[1]
    assert line.endswith(" ...)")
    assert len(line) < 400


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view()
    assert isinstance(shown, LineView)
    with shown:
        shown.show(job("queued"), [])
        shown.show(job("queued"), [])
        metrics = [
            metric("loss", "train", 0.51234),
            metric("loss", "validation", 0.6),
            metric("accuracy", "validation", 1),
        ]
        shown.show(job("running", 3, samples_per_second=51234.5, eta_seconds=12.2), metrics)
        shown.show(job("running", 4), [])  # within the same second: not shown
        shown.show(job("succeeded", 20), [metric("loss", "train", 0.1), metric("batch_loss", "train", 7)])
    assert capsys.readouterr().out.splitlines() == [
        "queued   ",
        "running    epoch 3/20  loss 0.5123  val_loss 0.6  val_accuracy 1  51,234 samples/s  12 s left",
        "succeeded  epoch 20/20  loss 0.1  val_loss 0.6  val_accuracy 1",
    ]


def test_the_bar_fills_and_shows_the_latest_values() -> None:
    bar = BarView()
    with bar:
        bar.show(job("running", 5, fraction=0.25, samples_per_second=1000.0), [metric("loss", "train", None)])
        task = bar.progress.tasks[0]
        assert (task.completed, task.description) == (0.25, "running  ")
        assert task.fields["metrics"] == "loss -"
        assert task.fields["epoch"] == "epoch 5/20"
        assert task.fields["speed"] == "1,000 samples/s"
        bar.show(job("succeeded", 5), [])
        assert bar.progress.finished


def test_tables_are_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "note"], [("job_" + "x" * 90, "[bold]as it is[/bold]"), (None, 0.123456)])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["id", "note"]
    assert first.split(maxsplit=1) == ["job_" + "x" * 90, "[bold]as it is[/bold]"]
    assert second.split() == ["-", "0.1235"]
    print_table(["id"], [], empty="no jobs")
    assert capsys.readouterr().out == "(no jobs)\n"


def test_predictions_of_classes(capsys: pytest.CaptureFixture[str]) -> None:
    prediction = {
        "label": "b",
        "probabilities": {"a": 0.2, "b": 0.7, "c": 0.06, "d": 0.04},
        "probabilities_std": {"a": 0.1, "b": 0.12, "c": 0.01, "d": 0.01},
        "predictive_entropy": 0.8,
        "mutual_information": 0.05,
    }
    print_predictions({"predictions": [prediction], "mc_samples": 50, "seed": 1, "stochastic_layers": ["dropout_1"]})
    out = capsys.readouterr().out
    assert "b 0.700 ± 0.120  a 0.200 ± 0.100  c 0.060 ± 0.010" in out
    assert "d 0.04" not in out
    assert "50 Monte-Carlo samples, seed 1; dropout in: dropout_1" in out


def test_predictions_of_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    one = {"mean": 3.14159, "std": 0.5, "quantiles": {"0.05": 2.0, "0.95": 4.0}}
    two = {"mean": [1.0, 2.0], "std": [0.1, 0.2], "quantiles": {"0.05": [0.5, 1.5], "0.95": [1.5, 2.5]}}
    print_predictions({"predictions": [one, two], "mc_samples": 0, "seed": 0, "stochastic_layers": [], "note": "N"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "row"
    assert lines[1].split() == ["0", "3.142", "0.5", "2", "4"]
    assert lines[2].split() == ["1", "1,", "2", "0.1,", "0.2", "0.5,", "1.5", "1.5,", "2.5"]
    assert lines[3:] == ["0 Monte-Carlo samples, seed 0; dropout in: no layer", "N"]
