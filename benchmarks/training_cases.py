"""What `training.py` trains: networks as specifications and as torch's own modules, and the data."""

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.data.formats import Limits, profile_file, read_frame
from service.settings import Settings
from service.spec import JobSpec
from worker.data import TrainingData, prepare

RATE = 0.2
CLASSES = 10
OUT: dict[str, Any] = {"type": "dense", "units": "auto"}
DROPOUT: dict[str, Any] = {"type": "dropout", "rate": RATE}


@dataclass(frozen=True)
class Case:
    """A network, how it is trained, and by how many times the PyTorch loop is to be beaten."""

    name: str
    layers: list[Any]
    torch: Callable[[], nn.Module]
    """Torch's own modules for it, but for its dropout: `F.dropout` in a loop written by hand is `nn.Dropout`."""
    shape: tuple[int, ...]
    batch: int
    rows: int
    epochs: int
    target: float


def dense(units: int) -> dict[str, Any]:
    """Return a dense layer with ReLU."""
    return {"type": "dense", "units": units, "activation": "relu"}


def conv(filters: int) -> list[Any]:
    """Return a convolution, batch normalisation, ReLU and pooling."""
    kernel = {"type": "conv2d", "filters": filters, "kernel_size": 3, "padding": "same", "activation": "linear"}
    return [kernel, "batch_norm", {"type": "activation", "activation": "relu"}, "max_pool2d"]


MLP = [dense(128), DROPOUT, dense(128), DROPOUT, OUT]
CNN = [*conv(32), *conv(64), "flatten", dense(128), DROPOUT, OUT]
LSTM = [{"type": "lstm", "units": 64}, OUT]


def torch_mlp() -> nn.Module:
    """Return the MLP of torch's own modules."""
    hidden = [nn.Linear(64, 128), nn.ReLU(), nn.Dropout(RATE), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(RATE)]
    return nn.Sequential(*hidden, nn.Linear(128, CLASSES))


def torch_cnn() -> nn.Module:
    """Return the convolutional network of torch's own modules."""
    first = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(RATE), nn.Linear(128, CLASSES)]
    return nn.Sequential(*first, *second, *head)


class TorchLstm(nn.Module):
    """The recurrent network of torch's own modules."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(16, 64, batch_first=True), nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits after the last place."""
        logits: Tensor = self.out(self.lstm(x)[0][:, -1])
        return logits


CASES = (
    Case("MLP 64-128-128-10, dropout 0.2", MLP, torch_mlp, (64,), 32, 4800, 5, 2.0),
    Case("MLP 64-128-128-10, dropout 0.2", MLP, torch_mlp, (64,), 128, 12800, 3, 1.5),
    Case("CNN 28x28, conv 32-64, batch norm, dense 128", CNN, torch_cnn, (1, 28, 28), 32, 640, 1, 1.0),
    Case("LSTM 64, 50 steps of 16 features", LSTM, TorchLstm, (50, 16), 32, 1600, 1, 1.0),
)


def specification(case: Case, **more: object) -> JobSpec:
    """Return the job: Adam, cross-entropy, no validation; `more` of its `training`."""
    data = {"dataset": "ds_" + "0" * 26, "target": "y", "split": {"validation": 0.0}, "image_layout": "none"}
    training = {"epochs": case.epochs, "batch_size": case.batch, **more}
    spec = {"network": {"layers": case.layers}, "loss": "cross_entropy", "data": data, "training": training}
    return JobSpec.model_validate(spec)


def data_of(case: Case) -> TrainingData:
    """Return rows as a worker would read them from a file."""
    draw, file = np.random.default_rng(0), io.BytesIO()
    x = draw.normal(size=(case.rows, *case.shape)).astype(np.float32)
    np.savez(file, x=x, y=np.arange(case.rows) % CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        path.write_bytes(file.getvalue())
        columns = profile_file(path, "npz", Limits.of(Settings())).columns
        return prepare(read_frame(path, "npz", columns), columns, specification(case))


def products(case: Case) -> Callable[[], None]:
    """Return one step's matrix products of the MLP, forward and backward, and nothing else."""
    sizes, rows = (64, 128, 128, CLASSES), case.batch
    weights = [torch.randn(out, into) for into, out in pairwise(sizes)]
    values = [torch.randn(rows, size) for size in sizes]

    def run() -> None:
        with torch.inference_mode():
            for weight, value in zip(weights, values, strict=False):
                torch.mm(value, weight.t())
            for place, weight in reversed(list(enumerate(weights))):
                torch.mm(values[place + 1].t(), values[place])
                if place:
                    torch.mm(values[place + 1], weight)

    return run
