"""Asking exported files as other programs do, and the service as a client does."""

import io
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from service.predict.cache import LoadedModel
from service.predict.messages import PredictRequest
from service.predict.predict import predict
from service.settings import Settings

Arrays = dict[str, NDArray[Any]]


def onnx_answers(data: bytes, columns: dict[str, Any]) -> Arrays:
    """What ONNX Runtime makes of a file; strings as objects, as it takes them."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, columns), strict=True))


def torch_answers(data: bytes, *given: Any) -> list[NDArray[Any]]:
    """What torch makes of a file."""
    program = torch.export.load(io.BytesIO(data)).module()
    with torch.no_grad():
        return [found.numpy() for found in program(*(torch.as_tensor(value) for value in given))]


def service_answers(loaded: LoadedModel, rows: list[Any], name: str = "probabilities", **options: Any) -> NDArray[Any]:
    """What the service says of rows, [rows, ...]; without options in one pass."""
    request = PredictRequest.model_validate({"rows": rows, "mc_samples": 0, **options})
    answer = predict(loaded, request, Settings())
    found = [prediction[name] for prediction in answer.predictions]
    return np.array([list(item.values()) if isinstance(item, dict) else item for item in found])
