"""Predictions as a safetensors file: single samples as bytes instead of digits."""

import orjson
from safetensors.numpy import save

from service.api.inference.outputs import tensors_of
from service.api.openapi import Responses
from service.predict.cache import LoadedModel
from service.predict.messages import PredictAnswer

MEDIA_TYPE = "application/octet-stream"
BINARY: Responses = {
    200: {
        "description": "The predictions; with `Accept: application/octet-stream` as a safetensors file, a tensor for "
        "each field, [rows, ...]. What is text stands as JSON in the file's metadata, as does all else.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def accepted(accept: str | None) -> bool:
    """Return whether a client asks for bytes by name, and not for JSON."""
    kinds = {kind.partition(";")[0].strip().lower() for kind in (accept or "").split(",")}
    return MEDIA_TYPE in kinds and "application/json" not in kinds


def safetensors_of(loaded: LoadedModel, answer: PredictAnswer) -> bytes:
    """Return the file: FP64 for values in the target's own units, FP32 for probabilities and entropies.

    Its metadata hold, as JSON, `NAME.names` (what stands along the second axis of a tensor), every field of text, and
    `mc_samples`, `seed`, `stochastic_layers` and `note`.
    """
    rest = {name: getattr(answer, name) for name in type(answer).model_fields if name != "predictions"}
    about = {name: orjson.dumps(value).decode() for name, value in rest.items()}
    arrays = {}
    for tensor in tensors_of(loaded, answer.predictions):
        about |= {f"{tensor.name}.{name}": text for name, text in tensor.parameters.items()}
        if tensor.datatype == "BYTES":
            about[tensor.name] = orjson.dumps(tensor.listed()).decode()
        else:
            arrays[tensor.name] = tensor.array()
    return save(arrays, about)
