"""What the OpenAPI document says of files of rows, and of streams of predictions."""

from typing import Any

from service.api.answers.predictions import Prediction
from service.api.binary import BINARY
from service.api.bulk_options import FILES
from service.api.openapi import Responses
from service.predict.bulk.writers import WRITERS

STREAM = {
    "ndjson": "One prediction a line, as an entry of `predictions`. A last line with a `type` that begins with "
    "`urn:trainyard:problem:` says why there are no more.",
    "csv": "A header, and one prediction a line: `probabilities.red`. A last line that is a JSON object says why there "
    "are no more.",
    "parquet": "One prediction a row; what is an object is a struct. One that breaks off has no footer.",
}
HEADER = {
    "X-Trainyard-Prediction": {
        "description": "Of a stream: `mc_samples`, `members`, `seed`, `stochastic_layers`, `calibrated`, `note`, JSON.",
        "schema": {"type": "string"},
    }
}
BINARY_STRING = {"type": "string", "format": "binary"}
STREAMS: dict[str, Any] = {
    kind.media_type: {"schema": {**BINARY_STRING, "description": STREAM[name]}} for name, kind in WRITERS.items()
}
STREAMED: Responses = {200: {**BINARY[200], "content": BINARY[200]["content"] | STREAMS, "headers": HEADER}}
"""The answers to rows in JSON, and to files of rows."""
LATER: Responses = {202: {"description": "With `async=true`: the queued prediction.", "model": Prediction}}
RESULT: Responses = {
    200: {
        "description": "The predictions of all rows. `ETag` of the Parquet file is its SHA-256.",
        "content": STREAMS,
    }
}
SAMPLE = "alcohol,hue\n13.2,1.05\n12.4,0.98\n"


def rows_request(extra: dict[str, Any]) -> dict[str, Any]:
    """Add to the description of a route that takes JSON that it also takes files of rows."""
    files: dict[str, Any] = {kind: {"schema": {**BINARY_STRING, "description": text}} for kind, text in FILES.items()}
    files["text/csv"]["examples"] = {"small": {"value": SAMPLE}}
    body = extra["requestBody"]
    return {"requestBody": {**body, "content": body["content"] | files}}
