"""What the protocol sends and answers, as far as it is JSON. Members that it does not know are passed over."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.api.inference.datatypes import DATATYPES

Parameters = dict[str, Any]
Datatype = Annotated[str, Field(json_schema_extra={"enum": list(DATATYPES)}, examples=["FP32"])]
Name = Annotated[str, Field(min_length=1, max_length=1000)]


class Message(BaseModel):
    """Part of a message of the protocol."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, strict=True)


class InputTensor(Message):
    """A tensor that is sent."""

    name: Annotated[Name, Field(examples=["input"])]
    """Name of a column; or `input`: all columns side by side, where all are numbers."""
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=2**40)]], Field(max_length=16, examples=[[1, 2]])]
    """Its shape: the rows first."""
    datatype: Datatype
    """What its values are."""
    parameters: Parameters = {}
    """`binary_data_size`: how many bytes of it stand behind the JSON."""
    data: Annotated[JsonValue, Field(examples=[[13.2, 1.05]])] = None
    """Its values, flat or nested, where they are not behind the JSON."""


class RequestedOutput(Message):
    """A tensor that is asked for."""

    name: Annotated[Name, Field(examples=["probabilities"])]
    """Its name."""
    parameters: Parameters = {}
    """`binary_data`: whether its bytes are to stand behind the JSON."""


class InferRequest(Message):
    """Rows to predict, as tensors."""

    id: Annotated[str | None, Field(max_length=1000)] = None
    """Comes back with the answer."""
    parameters: Annotated[Parameters, Field(examples=[{"mc_samples": 50, "seed": 1}])] = {}
    """How to ask the network how sure it is, as in `/v1`; `binary_data_output`: whether outputs are to be binary."""
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=100_000)]
    """One tensor for each column, or `input`."""
    outputs: Annotated[list[RequestedOutput] | None, Field(max_length=1000)] = None
    """What to answer; default: everything but single samples."""


class OutputTensor(Message):
    """A tensor that is answered."""

    name: str
    """Its name."""
    shape: list[int]
    """Its shape: the rows first."""
    datatype: Datatype
    """What its values are."""
    parameters: Parameters = {}
    """`names`: what stands along the second axis, as a JSON list in text; `binary_data_size`: bytes behind the JSON."""
    data: list[Any] | None = None
    """Its values row by row, where they are not behind the JSON; null is no number."""


class InferResponse(Message):
    """Predictions with uncertainty, as tensors."""

    model_name: str
    """As it was asked for."""
    model_version: str
    """Always "1"."""
    id: str | None = None
    """That of the request."""
    parameters: Parameters
    """What the predictions rest on: `mc_samples`, `members`, `seed`, `stochastic_layers`."""
    outputs: list[OutputTensor]
    """The tensors."""


class TensorMetadata(Message):
    """What a tensor looks like."""

    name: str
    """Its name."""
    datatype: Datatype
    """What its values are; of numbers to send, any other kind of number serves, too."""
    shape: list[int]
    """Its shape; -1 is any size."""
    parameters: Parameters = {}
    """`names`: what stands along the second axis, as a JSON list in text."""


class ModelMetadata(Message):
    """What a model takes and gives."""

    name: str
    """As it was asked for."""
    versions: list[str]
    """Always ["1"]: another training is another model, and an alias may lead from one to the other."""
    platform: str
    """Always "trainyard"."""
    inputs: list[TensorMetadata]
    """One for each column; where all are numbers, `input` [rows, columns] serves instead."""
    outputs: list[TensorMetadata]
    """Everything that can be asked for."""


class TensorConfig(Message):
    """What a tensor looks like, in Triton's words."""

    name: str
    """Its name."""
    data_type: str
    """What its values are."""
    dims: list[int]
    """Its shape; -1 is any size."""


class ModelConfig(Message):
    """How a model is served, in Triton's words."""

    name: str
    """As it was asked for."""
    platform: str
    """Always "trainyard"."""
    backend: str
    """Always "trainyard"."""
    version_policy: dict[str, Any]
    """There is one version."""
    max_batch_size: int
    """Always 0: the rows are part of every shape."""
    input: list[TensorConfig]
    """One for each column."""
    output: list[TensorConfig]
    """Everything that can be asked for."""
    parameters: dict[str, dict[str, str]]
    """The job that trained it, the hash of its weights, and `max_rows` of a request."""


class ServerMetadata(Message):
    """What serves."""

    name: str
    """Always "trainyard"."""
    version: str
    """Version of the service."""
    extensions: list[str]
    """What it knows beyond the protocol."""


class Live(Message):
    """The server answers."""

    live: bool
    """Always true."""


class Ready(Message):
    """Predictions can be asked for; what is not ready is answered with another status."""

    ready: bool
    """Always true."""
    name: str | None = None
    """Of the model, if a model was asked for."""


class IndexEntry(Message):
    """A model that can be asked."""

    name: str
    """Its id, or an alias that leads to it."""
    version: str
    """Always "1"."""
    state: str
    """Always "READY": models are loaded when they are asked for."""
    reason: str
    """Always empty."""
