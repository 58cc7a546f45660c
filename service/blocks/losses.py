"""Losses. All take logits or plain outputs; `link` turns those into what people read."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from service.blocks.base import Block, OneOf

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Target:
    """What the data set says of the target: the classes, or how many numbers there are to predict."""

    classes: tuple[int | float | str | bool, ...] | None
    columns: int


class Loss(Block):
    """What training makes small."""

    family = "loss"
    task: ClassVar[Task]

    def outputs(self, target: Target) -> int:
        """Return how many outputs the network needs: the value of `"units": "auto"`.

        Raises:
            ValueError: The loss does not fit this target; the message says why.
        """
        raise NotImplementedError

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row, [batch].

        Shape: `output` [batch, outputs]; `target` int64 [batch] with class indices for
        classification, float32 [batch, columns] for regression.
        """
        raise NotImplementedError

    def link(self, output: Tensor) -> Tensor:
        """Return probabilities [..., classes] for classification, means [..., columns] for regression."""
        return output


AnyLoss = Annotated[Loss, OneOf()]
