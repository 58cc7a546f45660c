"""Adam and its relatives: running first and second moments of the gradient."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from service.blocks.optimizers import Epsilon, Optimizer, Parameters, Share, decaying


class AdamFamily(Optimizer):
    """Base of the optimizers with running first and second moments."""

    beta_1: Share = 0.9
    """Share of the running mean of gradients kept from step to step."""
    beta_2: Share = 0.999
    """Share of the running mean of squared gradients kept from step to step."""
    epsilon: Epsilon = 1e-7
    """Added to the root, against division by zero."""

    @property
    def state_tensors(self) -> int:
        return 2


class Adam(AdamFamily):
    """Bias-corrected running moments: w = w - lr * m / (sqrt(v) + eps).

    Reference: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    type: Literal["adam"] = "adam"

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters, lr=self.learning_rate, betas=(self.beta_1, self.beta_2), eps=self.epsilon, fused=True
        )


class AdamW(AdamFamily):
    """Adam with weight decay decoupled from the gradient: w = w - lr * decay * w, besides Adam's step.

    Reference: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """

    type: Literal["adamw"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01
    """Share of a kernel taken off, times the learning rate, at every step; biases and scales are exempt."""

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            decaying(parameters, self.weight_decay),
            lr=self.learning_rate,
            betas=(self.beta_1, self.beta_2),
            eps=self.epsilon,
            fused=True,
        )


class Nadam(AdamFamily):
    """Adam with Nesterov's look-ahead in the first moment.

    Reference: Dozat 2016, "Incorporating Nesterov Momentum into Adam".
    """

    type: Literal["nadam"] = "nadam"

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.NAdam(
            parameters, lr=self.learning_rate, betas=(self.beta_1, self.beta_2), eps=self.epsilon, foreach=True
        )


class Adamax(AdamFamily):
    """Adam with the largest recent gradient in the place of the root mean square.

    Reference: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 2.
    """

    type: Literal["adamax"] = "adamax"

    @property
    def state_tensors(self) -> int:
        return 2

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.Adamax(
            parameters, lr=self.learning_rate, betas=(self.beta_1, self.beta_2), eps=self.epsilon, foreach=True
        )


class Amsgrad(AdamFamily):
    """Adam whose second moment never shrinks, so that its steps cannot grow back.

    Reference: Reddi, Kale and Kumar 2018, "On the Convergence of Adam and Beyond", algorithm 2.
    """

    type: Literal["amsgrad"] = "amsgrad"

    @property
    def state_tensors(self) -> int:
        return 3

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters,
            lr=self.learning_rate,
            betas=(self.beta_1, self.beta_2),
            eps=self.epsilon,
            amsgrad=True,
            fused=True,
        )
