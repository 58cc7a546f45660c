"""Networks with dropout in every place, and the loop over explicit masks that anybody would write."""

import math
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor, nn

from service.blocks.noise import Noise, set_noise
from service.network import Network, build_network, materialize
from service.randomness import derive, generator
from service.spec import NetworkSpec, RegularizationSpec

MIB = 1024 * 1024
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
DENSE = {"type": "dense", "units": 24, "activation": "relu"}
OUT = {"type": "dense", "units": "auto"}
CONV = {"type": "conv2d", "filters": 6, "kernel_size": 3, "activation": "relu", "padding": "same"}


def drop(rate: float) -> dict[str, Any]:
    return {"type": "dropout", "rate": rate}


NETWORKS: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "several": ([DENSE, drop(0.2), DENSE, drop(0.5), OUT], (7,)),
    "first": ([drop(0.3), DENSE, OUT], (7,)),
    "last": ([DENSE, OUT, drop(0.3)], (7,)),
    "behind norms": (
        [DENSE, "batch_norm", drop(0.2), DENSE, "layer_norm", drop(0.1), OUT],
        (7,),
    ),
    "images": (
        [CONV, "batch_norm", drop(0.25), CONV, "batch_norm", "max_pool2d",
         drop(0.25), "flatten", DENSE, drop(0.5), OUT],
        (1, 8, 8),
    ),
    "sequences": (
        [drop(0.1), {"type": "conv1d", "filters": 5, "kernel_size": 3}, drop(0.4),
         "flatten", OUT],
        (3, 12),
    ),
    "attention": (
        [{"type": "residual", "layers": [{"type": "layer_norm", "axes": "last"},
                                         {"type": "multi_head_attention", "heads": 2, "dropout": 0.4}]},
         drop(0.3), "flatten", OUT],
        (5, 6),
    ),
    "recurrent": (
        [{"type": "gru", "units": 6, "dropout": 0.2, "recurrent_dropout": 0.4, "return_sequences": True},
         {"type": "lstm", "units": 5, "recurrent_dropout": 0.3, "bidirectional": True}, OUT],
        (4, 3),
    ),
    "random slopes": ([{**DENSE, "activation": "rrelu"}, {**DENSE, "activation": "rrelu"}, OUT], (7,)),
    "a rate of zero before": ([drop(0.0), DENSE, drop(0.4), OUT], (7,)),
}  # fmt: skip


def build(layers: list[Any], shape: tuple[int, ...], outputs: int = 3, seed: int = 1) -> Network:
    spec = NetworkSpec.model_validate({"layers": orjson.loads(orjson.dumps(layers))})
    network = materialize(build_network(spec, RegularizationSpec(), shape, outputs), seed).eval()
    source = generator(seed, "statistics")
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(generator=source)
            module.running_var.uniform_(0.5, 2.0, generator=source)
    return network


def rows_of(shape: tuple[int, ...], count: int, seed: int = 3) -> Tensor:
    return torch.randn(count, *shape, generator=generator(seed, "rows"))


class ExplicitNoise(Noise):
    """The mask of sample t as the module's docstring says it, for one row at a time."""

    def __init__(self, seed: int, sample: int) -> None:
        self.seed, self.sample = seed, sample

    def bits(self, key: int, shape: tuple[int, ...]) -> Tensor:
        values = torch.Size(shape[1:]).numel()
        count = math.ceil(values / 4)
        key, source = derive(self.seed, "predict", key), np.random.PCG64DXSM(0)
        source.state = {**source.state, "state": {"state": key << 64 | key, "inc": key << 1 | 1}}
        words = source.random_raw((self.sample + 1) * count)[-count:]
        return torch.from_numpy(words.view(np.int16)[:values].reshape(shape[1:])).expand(shape)


def naive(network: Network, x: Tensor, samples: int, seed: int) -> Tensor:
    """T forward passes of every single row, each with explicitly set masks, [T, R, K]."""
    try:
        passes = []
        for sample in range(samples):
            set_noise(network, ExplicitNoise(seed, sample))
            passes.append(torch.cat([network(row.unsqueeze(0)) for row in x]))
        return torch.stack(passes).detach()
    finally:
        set_noise(network, None)
