"""Preprocessing: fitted on the training rows only, stored with the model, applied to raw rows."""

from typing import Annotated, Any

from pydantic import Field

from service.blocks.base import Block, OneOf
from service.data.frame import Frame


class Preprocessing(Block):
    """One step from raw columns to numbers that a network can take."""

    family = "preprocessing"
    columns: Annotated[list[str], Field(min_length=1)] | None = None
    """Columns the step works on; default: every column it suits."""

    def fit(self, frame: Frame) -> dict[str, Any]:
        """Return what the step learns from the training rows, as JSON values.

        Raises:
            service.errors.InvalidInput: A named column does not suit this step; the path is relative to the step.
        """
        raise NotImplementedError

    def apply(self, frame: Frame, state: dict[str, Any]) -> Frame:
        """Return the frame with the step applied; `state` is what `fit` returned."""
        raise NotImplementedError


AnyPreprocessing = Annotated[Preprocessing, OneOf()]
