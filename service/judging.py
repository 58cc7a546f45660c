"""The commands of `trainyard` that say what a model is worth: evaluate, importance."""

import json
from typing import Annotated

import typer

from service.client import Json
from service.commands import AsJson, Url, client_of
from service.terminal import print_table, say

judging = typer.Typer()

ModelId = Annotated[str, typer.Argument(metavar="MODEL", help="Id of a model, mdl_...")]
DatasetId = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="Id of a data set, ds_..., with the columns of the model and its target."),
]
Samples = Annotated[
    int | None, typer.Option("--mc-samples", min=0, help="Monte-Carlo samples a row; 0: one exact pass.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same answer.")]


@judging.command()
def evaluate(
    model: ModelId, dataset: DatasetId, mc_samples: Samples = None, seed: Seed = None, as_json: AsJson = False,
    url: Url = None,
) -> None:  # fmt: skip
    """Measure a model on a data set: metrics, calibration, and what abstaining would bring."""
    answer = _asked(url, model, "evaluate", {"dataset": dataset, "mc_samples": mc_samples, "seed": seed})
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print_evaluation(answer)


@judging.command()
def importance(
    model: ModelId,
    dataset: DatasetId,
    repeats: Annotated[int | None, typer.Option(min=1, help="How many times each column is shuffled.")] = None,
    seed: Seed = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show how much worse a model does when a column is shuffled."""
    answer = _asked(url, model, "importance", {"dataset": dataset, "repeats": repeats, "seed": seed})
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print_importance(answer)


def _asked(url: str | None, model: str, what: str, options: Json) -> Json:
    given = {name: value for name, value in options.items() if value is not None}
    with client_of(url) as client:
        answer: Json = client.request("POST", f"/v1/models/{model}/{what}", json=given)
    return answer


def print_evaluation(answer: Json) -> None:
    """Print a line for each figure: metrics, calibration, and what abstaining would bring."""
    figures = {name: value for name, value in answer["metrics"].items() if not isinstance(value, list | dict)}
    conformal = answer["metrics"].get("conformal") or {}
    figures = {name: value for name, value in figures.items() if name != "conformal"}
    figures |= {f"conformal {name}": value for name, value in conformal.items()}
    curve = answer["risk_coverage"]
    figures[f"risk-coverage area by {curve['by']}"] = curve["area"]
    print_table(["figure", "value"], list(figures.items()))
    how = "calibrated" if answer["calibrated"] else "not calibrated"
    say(f"{answer['rows']:,} rows, {answer['mc_samples']} Monte-Carlo samples, seed {answer['seed']}; {how}")
    if answer["note"]:
        say(answer["note"])


def print_importance(answer: Json) -> None:
    """Print a line for each column, the most important first."""
    ordered = sorted(answer["columns"], key=lambda column: -(column["mean"] or 0.0))
    rows = [(column["column"], column["mean"], column["std"]) for column in ordered]
    print_table(["column", f"drop of {answer['metric']}", "std"], rows)
    say(f"{answer['metric']} is {answer['baseline']} on {answer['rows']:,} rows; {answer['repeats']} shuffles a column")
