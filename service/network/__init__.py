"""From a specification to a torch module: built on the meta device by running it, then given weights."""

from service.network.building import DEFAULT_MAX_PARAMETERS, build_network
from service.network.modules import META, PROBE_ROWS, LayerRecord, Network, Stack, WeightRule
from service.network.weights import load_weights, materialize, save_weights

__all__ = [
    "DEFAULT_MAX_PARAMETERS",
    "META",
    "PROBE_ROWS",
    "LayerRecord",
    "Network",
    "Stack",
    "WeightRule",
    "build_network",
    "load_weights",
    "materialize",
    "save_weights",
]
