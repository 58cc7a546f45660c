"""The commands of `trainyard` that carry models out and in: export, import."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.client import ClientError
from service.commands import AsJson, Url, client_of
from service.terminal import say

exporting = typer.Typer()


class Format(StrEnum):
    """The formats that a model can be exported in."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    TORCH = "torch"


ENDINGS = {Format.SAFETENSORS: "safetensors", Format.ONNX: "onnx", Format.TORCH: "pt2"}


@exporting.command("export")
def export_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Id of a model, mdl_..., or an alias.")],
    format: Annotated[
        Format, typer.Option(help="safetensors can be imported again; onnx and torch are for other programs.")
    ] = Format.SAFETENSORS,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; default: the id with the format's ending.")
    ] = None,
    dropout: Annotated[
        bool, typer.Option("--dropout", help="Of onnx and torch: keep random layers random, for Monte-Carlo samples.")
    ] = False,
    url: Url = None,
) -> None:
    """Write a model to a file."""
    file = output or Path(f"{model.replace('/', '_')}.{ENDINGS[format]}")
    query = {"format": format.value, "dropout": "on" if dropout else "off"}
    # What breaks off on the way leaves nothing behind that looks whole.
    partial = file.with_name(f"{file.name}.part")
    try:
        with client_of(url) as client, partial.open("wb") as content:
            headers = client.download(f"/v1/models/{model}/export", content, query)
        os.replace(partial, file)
    except OSError as error:
        raise ClientError(f"cannot write {file}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    checked = headers.get("x-trainyard-checked")
    held = f"; held against the service: {checked}" if checked else ""
    say(f"{file}: {file.stat().st_size:,} bytes{held}")


@exporting.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of `trainyard export --format safetensors`.")],
    name: Annotated[str | None, typer.Option(help="Name for people; default: the one that the model had.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Make a model of a file that was exported."""
    headers = {"Content-Type": "application/octet-stream"}
    try:
        with client_of(url) as client, file.open("rb") as content:
            headers["Content-Length"] = str(file.stat().st_size)
            query = {} if name is None else {"name": name}
            model = client.request("POST", "/v1/models", params=query, content=content, headers=headers)
    except OSError as error:
        raise ClientError(f"cannot read {file}: {error.strerror}") from error
    if as_json:
        print(json.dumps(model, indent=2, ensure_ascii=False))
    else:
        say(f"{model['id']} has the weights {model['weights_sha256']}")
        say(f"predict with: trainyard predict {model['id']} ROWS")
