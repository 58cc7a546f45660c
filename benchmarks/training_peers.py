"""The peers of `training.py`: each takes a case and its rows and returns what trains on them."""

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from training_cases import CLASSES, RATE, Case

Train = Callable[[], object]


def torch_loop(case: Case, x: Tensor, y: Tensor) -> Train:
    """A loop as one writes it for speed: rows indexed in place, fused Adam, no DataLoader."""
    network = case.torch().train()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)

    def train() -> None:
        for _ in range(case.epochs):
            order = torch.randperm(len(x))
            for start in range(0, len(x), case.batch):
                rows = order[start : start + case.batch]
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(functional.cross_entropy(network(x[rows]), y[rows]))
                optimizer.step()

    return train


@dataclass(frozen=True)
class Keras:
    """What trains, and what Keras runs it on."""

    backend: str
    train: Train


def keras_fit(case: Case, x: Tensor, y: Tensor) -> Keras | None:
    """Keras, `model.fit`, on JAX where it is installed, else on PyTorch; None without Keras."""
    if find_spec("keras") is None:
        return None
    os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
    layers: Any = import_module("keras.layers")
    keras: Any = import_module("keras")
    stacks = {
        "MLP": [*_keras_dense(layers, 128), *_keras_dense(layers, 128)],
        "CNN": [*_keras_conv(layers, 32), *_keras_conv(layers, 64), layers.Flatten(), *_keras_dense(layers, 128)],
        "LSTM": [layers.LSTM(64)],
    }
    image = len(case.shape) == 3
    shape = (*case.shape[1:], case.shape[0]) if image else case.shape
    rows = (x.permute(0, 2, 3, 1).contiguous() if image else x).numpy()
    stack = stacks[case.name.split()[0]]
    model = keras.Sequential([keras.Input(shape), *stack, layers.Dense(CLASSES)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(), loss=loss)

    def train() -> None:
        model.fit(rows, y.numpy(), batch_size=case.batch, epochs=case.epochs, verbose=0)

    return Keras(keras.backend.backend(), train)


def _keras_dense(layers: Any, units: int) -> list[Any]:
    return [layers.Dense(units, activation="relu"), layers.Dropout(RATE)]


def _keras_conv(layers: Any, filters: int) -> list[Any]:
    kernel = layers.Conv2D(filters, 3, padding="same")
    return [kernel, layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D()]


def lightning_fit(case: Case, x: Tensor, y: Tensor) -> Train | None:
    """Lightning's Trainer over a DataLoader, with nothing that logs or stores; None where it is not installed."""
    if find_spec("lightning") is None:
        return None
    lightning: Any = import_module("lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = _module(lightning, case.torch())
    loader = DataLoader(TensorDataset(x, y), batch_size=case.batch, shuffle=True)

    def train() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lightning.Trainer(
                max_epochs=case.epochs,
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            ).fit(module, loader)

    return train


def _module(lightning: Any, network: nn.Module) -> Any:
    def forward(self: Any, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        return functional.cross_entropy(self.network(x), y)

    def optimizers(self: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), fused=True)

    body = {"training_step": forward, "configure_optimizers": optimizers}
    module = type("Peer", (lightning.LightningModule,), body)()
    module.network = network
    return module
