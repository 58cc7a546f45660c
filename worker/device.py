"""Where a job runs. Called in children only: a parent that has touched CUDA cannot fork."""

import torch

from service.errors import TrainingFailed


def choose_device(wanted: str) -> torch.device:
    """Return the device behind `training.device`.

    Raises:
        TrainingFailed: A GPU is called for and this worker has none.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if wanted == "cuda":
        raise TrainingFailed('training.device is "cuda" and this worker has no GPU; use "auto" or "cpu"')
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return the device in words, for receipts."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
