"""An inference request as a question to the batcher."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.api.inference.body import HEADER_LENGTH, Body, read
from service.api.inference.datatypes import Tensor
from service.api.inference.inputs import from_bare_bytes, rows_of
from service.api.inference.messages import InferRequest, RequestedOutput
from service.api.inference.metadata import VERSION
from service.api.inference.options import SAMPLES, request_of
from service.api.inference.outputs import tensors_of
from service.errors import InvalidInput, Problem
from service.findings import did_you_mean
from service.predict.cache import LoadedModel
from service.predict.messages import PredictAnswer, PredictRequest


@dataclass(frozen=True)
class Answer:
    """The body of an answer, and how much of it is JSON where tensors follow."""

    content: bytes
    header_length: int | None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that say so."""
        if self.header_length is None:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(self.header_length)}


@dataclass
class InferQuestion:
    """A body of the protocol, and the answer in the protocol."""

    model_name: str
    body: Body
    most_bytes: int
    _asked: InferRequest = field(init=False)

    def read(self, loaded: LoadedModel) -> PredictRequest:
        """Return the request."""
        content = self.body.unpacked(self.most_bytes)
        if self.body.header_length == 0:
            self._asked, tensors = from_bare_bytes(loaded, content)
        else:
            self._asked, tensors = read(content, self.body.header_length)
        wanted = self._asked.outputs
        rows = rows_of(loaded, tensors)
        return request_of(rows, self._asked.parameters, [output.name for output in wanted or ()])

    def write(self, loaded: LoadedModel, answer: PredictAnswer) -> Answer:
        """Return the answer.

        Raises:
            InvalidInput: An output is asked for that the model does not have.
        """
        tensors = {tensor.name: tensor for tensor in tensors_of(loaded, answer.predictions)}
        binary = self._asked.parameters.get("binary_data_output") is True or self.body.header_length == 0
        if not self._asked.outputs:
            chosen = [(tensor, binary) for tensor in tensors.values()]
        else:
            _check_outputs(self._asked.outputs, [*tensors, *({SAMPLES} - tensors.keys())])
            flags = {output.name: output.parameters.get("binary_data", binary) for output in self._asked.outputs}
            chosen = [(tensors[name], flag is True) for name, flag in flags.items()]
        return _encoded(self._head(answer), chosen)

    def _head(self, answer: PredictAnswer) -> dict[str, Any]:
        rest = {name: getattr(answer, name) for name in type(answer).model_fields if name != "predictions"}
        parameters = {name: _parameter(value) for name, value in rest.items() if value is not None}
        head = {"model_name": self.model_name, "model_version": VERSION, "parameters": parameters}
        return head if self._asked.id is None else {**head, "id": self._asked.id}


def _check_outputs(wanted: list[RequestedOutput], known: list[str]) -> None:
    for output in wanted:
        path = f"outputs.{output.name}"
        if output.name not in known:
            message = "is no output of the model" + did_you_mean(output.name, known)
            raise InvalidInput([Problem(path, message, output.name, known)])
        if output.parameters.get("classification"):
            message = "is answered as it is: the classes of each value are not picked out for you"
            raise InvalidInput([Problem(f"{path}.parameters.classification", message, allowed=0)])


def _parameter(value: object) -> object:
    """Return a value as parameters may be: text, a number or a boolean."""
    return value if isinstance(value, str | int | float) else orjson.dumps(value).decode()


def _encoded(head: dict[str, Any], tensors: Collection[tuple[Tensor, bool]]) -> Answer:
    outputs, raw = [], []
    for tensor, binary in tensors:
        output = {"name": tensor.name, "shape": list(tensor.values.shape), "datatype": tensor.datatype}
        parameters = dict(tensor.parameters)
        if binary:
            raw.append(tensor.raw())
            parameters["binary_data_size"] = len(raw[-1])
        else:
            output["data"] = tensor.listed()
        outputs.append({**output, "parameters": parameters} if parameters else output)
    content = orjson.dumps({**head, "outputs": outputs})
    return Answer(b"".join([content, *raw]), len(content) if raw else None)
