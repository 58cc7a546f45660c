"""Answers about imported weights."""

from typing import Literal, Self

from service.api.answers.base import Answer, Count, Sha256, Time
from service.network.tensors import StoredTensor
from service.store import weight_tables


class WeightsFile(Answer):
    """Imported weights, as lists show them."""

    id: str
    """Id of the weights."""
    object: Literal["weights"] = "weights"
    """Always "weights"."""
    name: str
    """Name for people."""
    size: Count
    """Bytes of the file."""
    sha256: Sha256
    """Hash of the file's bytes."""
    parameters: Count
    """Numbers in all tensors."""
    created_at: Time
    """When they were uploaded."""

    @classmethod
    def of(cls, row: weight_tables.Weights) -> Self:
        """Return the answer for the row of an upload."""
        return cls.model_validate(row, from_attributes=True)


class Weights(WeightsFile):
    """Imported weights and their tensors."""

    tensors: dict[str, StoredTensor]
    """The tensors by their names."""
