"""Answers about networks that have not been trained yet, and about the blocks they are made of."""

from typing import Literal, Self

from pydantic import Field

from service import advice as advices
from service.api.answers.base import Answer, Count, JsonObject
from service.blocks.base import Shape
from service.catalog import BlockInfo
from service.memory import TrainingMemory
from service.summary import LayerSummary, NetworkSummary


class Layer(Answer):
    """One layer of a network. Shapes have no batch dimension; multiply-adds and bytes are those of one row."""

    path: str
    """JSON path of the layer."""
    name: str
    """Name of the layer, its own or the one it was given."""
    type: str
    """The block."""
    input_shape: list[int]
    """Shape that arrives."""
    output_shape: list[int]
    """Shape that leaves."""
    parameters: Count
    """Numbers that are learned, here or where they come from."""
    trainable_parameters: Count
    """Those of them that this training changes, now or later."""
    multiply_adds: Count
    """Multiply-adds of one row, forward."""
    activation_bytes: Count
    """Bytes of the output of one row."""

    @classmethod
    def of(cls, layer: LayerSummary) -> Self:
        """Return the answer for a layer's summary."""
        return cls.model_validate(layer, from_attributes=True)


class Memory(Answer):
    """An estimate of the memory that the network takes, in bytes."""

    weights_bytes: Count
    """The weights."""
    activation_bytes_per_row: Count
    """The outputs of all layers for one row."""
    training_bytes_per_row: Count
    """What a row of a batch takes on the way forward and back."""
    data_bytes: Count
    """What there is of the data set in memory; 0 where the specification names none."""
    disk_bytes: Count
    """What of the data set is streamed from the worker's disk, because it is too large for memory; 0: nothing."""
    training_bytes: Count
    """All there is at once: data, weights, gradients, the optimizer's state, a checkpoint and one batch."""
    limit_bytes: Count
    """What this server allows for a job."""

    @classmethod
    def of(cls, memory: TrainingMemory, activation_bytes: int, rows: int, limit: int) -> Self:
        """Return the answer for an estimate and `rows` in a batch."""
        return cls(
            weights_bytes=memory.weights_bytes,
            activation_bytes_per_row=activation_bytes,
            training_bytes_per_row=memory.row_bytes,
            data_bytes=memory.data_bytes,
            disk_bytes=memory.disk_bytes,
            training_bytes=memory.of(rows),
            limit_bytes=limit,
        )


class Advice(Answer):
    """A rule of the trade that the specification breaks."""

    code: str
    """Stable name of the rule."""
    path: str
    """JSON path of what breaks it."""
    reason: str
    """Why it matters."""
    source: str
    """Where the rule is written: paper or book, and section."""
    mend: str
    """What to do about it."""


class NetworkCheck(Answer):
    """What would come of a specification, without doing it."""

    valid: Literal[True] = True
    """Always true: what is not valid is answered with a problem."""
    input_shape: list[int]
    """Shape of one row as it reaches the first layer; channels come first."""
    outputs: int
    """Numbers that the network gives a row."""
    layers: list[Layer]
    """The layers, first to last."""
    parameters: Count
    """Numbers that are learned, here or where they come from, of all layers."""
    trainable_parameters: Count
    """Those of them that this training changes, now or later."""
    multiply_adds: Count
    """Multiply-adds of one row, forward, of all layers."""
    memory: Memory
    """An estimate of the memory that it takes, of all replicas together."""
    replicas: Count
    """Networks that are trained together."""
    stochastic_layers: list[str]
    """Layers that draw random numbers in Monte-Carlo prediction; without any, there is no spread to see."""
    spec_sha256: str | None
    """Hash of the specification; null while it names no data."""
    advice: list[Advice]
    """Rules of the trade that the specification breaks. Advice never blocks."""

    @classmethod
    def of(
        cls,
        summary: NetworkSummary,
        memory: "Memory",
        input_shape: Shape,
        outputs: int,
        stochastic_layers: list[str],
        replicas: int,
        spec_sha256: str | None,
        found: list[advices.Advice],
    ) -> Self:
        """Return the answer for a network's summary and the advice that was found."""
        return cls(
            input_shape=list(input_shape),
            outputs=outputs,
            layers=[Layer.of(layer) for layer in summary.layers],
            parameters=summary.parameters,
            trainable_parameters=summary.trainable_parameters,
            multiply_adds=summary.multiply_adds,
            memory=memory,
            stochastic_layers=stochastic_layers,
            replicas=replicas,
            spec_sha256=spec_sha256,
            advice=[Advice.model_validate(advice, from_attributes=True) for advice in found],
        )


class Block(Answer):
    """One building block of the language."""

    object: Literal["block"] = "block"
    """Always "block"."""
    family: str
    """Where it may stand: layer, activation, loss, ..."""
    type: str
    """Its name: the value of `type`."""
    description: str
    """What it does, with formula and reference."""
    bare: bool
    """Whether its name alone will do, without an object around it."""
    json_schema: JsonObject = Field(alias="schema")
    """JSON Schema of the block as an object."""

    @classmethod
    def of(cls, block: BlockInfo) -> Self:
        """Return the answer for a block of the catalog."""
        return cls(
            family=block.family, type=block.type, description=block.description, bare=block.bare, schema=block.schema
        )


class Blocks(Answer):
    """Every building block."""

    object: Literal["list"] = "list"
    """Always "list"."""
    data: list[Block]
    """The blocks, by family and name."""
    has_more: Literal[False] = False
    """Always false: all blocks are here."""
