"""The command of `trainyard` that predicts."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands import AsJson, Url, client_of, print_json
from service.rows import read_rows
from service.streaming import stream_predictions
from service.terminal import print_predictions, say

predicting = typer.Typer()


@predicting.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Id of a model, mdl_...")],
    rows: Annotated[
        str,
        typer.Argument(metavar="ROWS", help="JSON, CSV or Parquet file, - for standard input, or JSON itself."),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", metavar="OUT", help="Stream CSV, Parquet or NDJSON to a file of this name; - prints."
        ),
    ] = None,
    mc_samples: Annotated[int | None, typer.Option(min=0, help="Monte-Carlo samples a row; 0: one exact pass.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Predict rows, each with how sure the model is.

    With -o, or of a Parquet file, the rows are streamed: neither they nor the predictions have to fit into memory.
    """
    if out is not None or Path(rows).suffix.lower() == ".parquet":
        target = out or "-"
        with client_of(url) as client:
            size = stream_predictions(client, model, rows, target, mc_samples=mc_samples, seed=seed)
        if target != "-":
            say(f"{target}: {size:,} bytes")
        return
    with client_of(url) as client:
        answer = client.predict(model, read_rows(rows, client.model(model)), mc_samples=mc_samples, seed=seed)
    if as_json:
        print_json(answer)
    else:
        print_predictions(answer)
