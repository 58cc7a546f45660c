"""Predictions as a safetensors file: single samples as bytes instead of digits."""

from typing import Any

import orjson
from safetensors.numpy import save

from service.api.inference.outputs import NAMES, tensors_of
from service.api.openapi import Responses
from service.predict.cache import LoadedModel
from service.predict.messages import PredictAnswer

MEDIA_TYPE = "application/octet-stream"
BINARY: Responses = {
    200: {
        "description": "The predictions; with `Accept: application/octet-stream` as a safetensors file, a tensor for "
        "each field, [rows, ...]. What is text stands as JSON in its metadata, as does all else.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def accepted(accept: str | None) -> bool:
    """Return whether a client asks for bytes by name, and not for JSON."""
    kinds = {kind.partition(";")[0].strip().lower() for kind in (accept or "").split(",")}
    return MEDIA_TYPE in kinds and "application/json" not in kinds


def safetensors_of(loaded: LoadedModel, answer: PredictAnswer) -> bytes:
    """Return the file: FP64 for values in the target's own units, FP32 for probabilities and entropies.

    Its metadata hold one JSON object under `answer`: `mc_samples`, `seed`, `stochastic_layers`, `note`, every field of
    text, and under `names` what stands along the second axis of a tensor.
    """
    about: dict[str, Any] = {name: getattr(answer, name) for name in type(answer).model_fields if name != "predictions"}
    about["names"] = {}
    arrays = {}
    for tensor in tensors_of(loaded, answer.predictions):
        if NAMES in tensor.parameters:
            about["names"][tensor.name] = orjson.loads(tensor.parameters[NAMES])
        if tensor.datatype == "BYTES":
            about[tensor.name] = tensor.listed()
        else:
            arrays[tensor.name] = tensor.array()
    # Several entries would come in another order every time, and the same answer shall have the same bytes.
    return save(arrays, {"answer": orjson.dumps(about).decode()})
