"""Losses. All take logits or plain outputs; `link` turns those into what people read."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from service.blocks.base import Block, OneOf
from service.blocks.class_weights import ClassWeights

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


class ClassLoss(Loss):
    """Base of the losses of classes, whose rows may count by their class."""

    task = "classification"
    class_weights: ClassWeights = None
    """What a row counts, by its class as JSON shows it (others 1); "balanced": rows / (classes * rows of its class)."""


class SoftmaxLoss(ClassLoss):
    """Base of the losses with one output a class, read through softmax."""

    def outputs(self, target: Target) -> int:
        if target.classes is None or len(target.classes) < 2:
            raise ValueError(f"{self.type} needs a target of at least two classes")
        return len(target.classes)

    def link(self, output: Tensor) -> Tensor:
        return torch.softmax(output, dim=-1)


class CrossEntropy(SoftmaxLoss):
    """Cross-entropy of softmax probabilities: -sum_c t_c log p_c, one output a class, in nats."""

    type: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target spread over all classes (Szegedy et al. 2016, section 7)."""

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target, reduction="none", label_smoothing=self.label_smoothing)


class BinaryCrossEntropy(ClassLoss):
    """Cross-entropy of one sigmoid probability, that of the second of two classes, in nats."""

    type: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    task = "classification"

    def outputs(self, target: Target) -> int:
        if target.classes is None or len(target.classes) != 2:
            found = "none" if target.classes is None else str(len(target.classes))
            raise ValueError(f"binary_cross_entropy needs a target of exactly two classes, this one has {found}")
        return 1

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(output[:, 0], target.to(output.dtype), reduction="none")

    def link(self, output: Tensor) -> Tensor:
        logits = output[..., 0]
        return torch.stack([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=-1)


class RegressionLoss(Loss):
    """Base of the losses of numbers: the mean over the target columns of an error per value."""

    task = "regression"

    def outputs(self, target: Target) -> int:
        return target.columns

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each value, of the shape of both arguments."""
        raise NotImplementedError

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        return self.per_value(output, target).flatten(1).mean(dim=1)


class Mse(RegressionLoss):
    """Mean squared error: (y - f)^2."""

    type: Literal["mse"] = "mse"

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square()


class Mae(RegressionLoss):
    """Mean absolute error: |y - f|."""

    type: Literal["mae"] = "mae"

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs()


class Huber(RegressionLoss):
    """Squared near zero, linear beyond `delta`: e^2 / 2 for |e| <= delta, delta * (|e| - delta / 2) otherwise.

    Reference: Huber 1964, "Robust Estimation of a Location Parameter".
    """

    type: Literal["huber"] = "huber"
    delta: Annotated[float, Field(gt=0)] = 1.0
    """Error from which the loss grows linearly, in units of the (scaled) target."""

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.huber_loss(output, target, reduction="none", delta=self.delta)


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


class LogCosh(RegressionLoss):
    """log(cosh(y - f)): squared near zero, absolute far away, smooth throughout."""

    type: Literal["log_cosh"] = "log_cosh"

    def per_value(self, output: Tensor, target: Tensor) -> Tensor:
        error = output - target
        return error + functional.softplus(-2.0 * error) - math.log(2.0)


AnyLoss = Annotated[Loss, OneOf()]
