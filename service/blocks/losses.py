"""Losses. All take logits or plain outputs; `link` turns those into what people read."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from service.blocks.base import Block, OneOf
from service.blocks.class_weights import ClassWeights

Task = Literal["classification", "multi_label", "regression"]


@dataclass(frozen=True)
class Target:
    """What the data set says of the target: the classes, the labels, or how many numbers there are to predict."""

    classes: tuple[int | float | str | bool, ...] | None
    columns: int


class Loss(Block):
    """What training makes small."""

    family = "loss"
    bounded: ClassVar[bool] = True
    """True when the loss is never below 0."""

    @property
    def task(self) -> Task:
        """What the network is to predict."""
        raise NotImplementedError

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
        """Return probabilities [..., classes] or [..., labels], for regression means [..., columns]."""
        return output

    def variance(self, output: Tensor) -> Tensor | None:
        """Return the variance of the target's own noise, [..., columns]; None where the network does not model it."""
        return None

    def refusal(self, target: NDArray[Any], start: int = 0) -> str | None:
        """Return why the loss cannot take encoded targets [rows, columns], from row `start` on; None when it can."""
        return None


class ClassLoss(Loss):
    """Base of the losses of classes, whose rows may count by their class."""

    class_weights: ClassWeights = None
    """What a row counts, by its class as JSON shows it (others 1); "balanced": rows / (classes * rows of its class)."""

    @property
    def task(self) -> Task:
        """Classes."""
        return "classification"


FEW_CLASSES = 16
"""Up to so many, torch takes up to ten times as long along the last axis as along the first, copying included."""
MANY_ROWS = 256
"""Rows from which on that is worth the copying, forward and backward."""


class SoftmaxLoss(ClassLoss):
    """Base of the losses with one output a class, read through softmax."""

    def outputs(self, target: Target) -> int:
        if target.classes is None or len(target.classes) < 2:
            raise ValueError(f"{self.type} needs a target of at least two classes")
        return len(target.classes)

    def link(self, output: Tensor) -> Tensor:
        if output.shape[-1] > FEW_CLASSES:
            return torch.softmax(output, dim=-1)
        return torch.softmax(output.movedim(-1, 0).contiguous(), dim=0).movedim(0, -1)


class CrossEntropy(SoftmaxLoss):
    """Cross-entropy of softmax probabilities: -sum_c t_c log p_c, one output a class, in nats."""

    type: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target spread over all classes (Szegedy et al. 2016, section 7)."""

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        if output.shape[1] > FEW_CLASSES or len(output) < MANY_ROWS:
            return functional.cross_entropy(output, target, reduction="none", label_smoothing=self.label_smoothing)
        first, same = output.t().contiguous()[None], target[None]
        return functional.cross_entropy(first, same, reduction="none", label_smoothing=self.label_smoothing)[0]


class BinaryCrossEntropy(ClassLoss):
    """Cross-entropy of sigmoid probabilities, in nats: of the second of two classes, or of each of several labels.

    Several labels are target columns of 0 and 1 (or true and false) that may hold together; the loss of a row is the
    mean over them.
    """

    type: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share s of the target that is moved to the middle: 0 becomes s / 2, 1 becomes 1 - s / 2."""
    multi_label: bool | None = None
    """Whether the target is several labels; default: when `data.target` is a list."""

    @property
    def task(self) -> Task:
        """Several labels, or two classes."""
        return "multi_label" if self.multi_label else "classification"

    def outputs(self, target: Target) -> int:
        if self.multi_label:
            return target.columns
        if target.classes is None or len(target.classes) != 2:
            found = "none" if target.classes is None else str(len(target.classes))
            raise ValueError(f"binary_cross_entropy needs a target of exactly two classes, this one has {found}")
        return 1

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        truth = target.to(output.dtype)
        truth = truth if self.multi_label else truth[:, None]
        truth = truth * (1.0 - self.label_smoothing) + self.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(output, truth, reduction="none").mean(dim=1)

    def link(self, output: Tensor) -> Tensor:
        if self.multi_label:
            return torch.sigmoid(output)
        logits = output[..., 0]
        return torch.stack([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=-1)


class Focal(SoftmaxLoss):
    """Cross-entropy that counts rows less the surer they are: -(1 - p_t)^gamma * log p_t.

    Reference: Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4.
    """

    type: Literal["focal"] = "focal"
    gamma: Annotated[float, Field(ge=0, le=20)] = 2.0
    """How much less; 0 is cross-entropy."""

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        sure = torch.log_softmax(output, dim=-1).gather(1, target[:, None])[:, 0].exp()
        return (1.0 - sure) ** self.gamma * functional.cross_entropy(output, target, reduction="none")


class Hinge(SoftmaxLoss):
    """Multi-class hinge: max(0, 1 + the largest other output - the right one); predictions show softmax of the outputs.

    Reference: Crammer and Singer 2001, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines".
    """

    type: Literal["hinge"] = "hinge"

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        right = output.gather(1, target[:, None])
        others = output.scatter(1, target[:, None], -torch.inf).amax(dim=1)
        return torch.relu(1.0 + others - right[:, 0])


AnyLoss = Annotated[Loss, OneOf()]
