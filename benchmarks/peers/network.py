"""The network that every peer serves, with torch's own modules."""

import torch
from torch import nn

COLUMNS, UNITS, CLASSES = 64, 128, 10


def network() -> nn.Sequential:
    """Return the network in the state in which it answers; from here on torch uses one thread."""
    torch.set_num_threads(1)
    return nn.Sequential(
        nn.Linear(COLUMNS, UNITS), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Dropout(0.2), nn.Linear(UNITS, CLASSES),
    ).eval()  # fmt: skip


def answer(model: nn.Module, rows: list[list[float]]) -> dict[str, list[list[float]]]:
    """Return the class probabilities of rows, from one pass."""
    with torch.inference_mode():
        return {"predictions": model(torch.tensor(rows)).softmax(-1).tolist()}
