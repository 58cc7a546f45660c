"""Pre-training without labels: what gives weights a better start than chance."""

from typing import Annotated, Literal

from pydantic import Field

from service.blocks.base import Block, OneOf


class Pretraining(Block):
    """What happens to the weights before training proper begins."""

    family = "pretraining"


class Rbm(Pretraining):
    """Train every hidden dense layer as a restricted Boltzmann machine on what the layers before it give.

    A stack of such machines is a deep belief network; training proper then fine-tunes it. Contrastive divergence:
    dW = learning_rate * (<h v> of the data - <h v> after `k` steps of Gibbs sampling). The hidden layers must be
    dense with sigmoid, the probability of a unit of the machine; dropout between them is off meanwhile.

    Reference: Hinton 2002, "Training Products of Experts by Minimizing Contrastive Divergence"; Hinton, Osindero and
    Teh 2006, "A Fast Learning Algorithm for Deep Belief Nets", section 5; Hinton 2010, "A Practical Guide to Training
    Restricted Boltzmann Machines", sections 3 and 13.2 for the visible units.
    """

    type: Literal["rbm"] = "rbm"
    k: Annotated[int, Field(ge=1, le=1000)] = 1
    """Steps of Gibbs sampling."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Passes over the training rows for each layer."""
    learning_rate: Annotated[float, Field(gt=0, le=1e6)] = 0.05
    """Step size; that of Gaussian visible units is a tenth of it, or they diverge."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the last change that is made again."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0002
    """Share of a weight that is taken off, times the learning rate, at every step."""
    visible: Literal["auto", "bernoulli", "gaussian"] = "auto"
    """What the inputs are: numbers in [0, 1], or any with variance 1; "auto" looks at the training rows."""


AnyPretraining = Annotated[Pretraining, OneOf()]
