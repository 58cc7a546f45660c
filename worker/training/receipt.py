"""The receipt of a finished run: everything needed to make the same weights again, and whether that is promised."""

import platform
from importlib.metadata import version
from typing import Any

import torch

from service.store.tables import Job
from worker.data import TrainingData
from worker.device import device_name

LIBRARIES = ("trainyard", "torch", "numpy", "polars")


def receipt(job: Job, data: TrainingData, device: torch.device, weights_sha256: str, seconds: float) -> dict[str, Any]:
    """Return what decided the result, as JSON values.

    Bits are promised for the same spec, data, seed, versions, kind of device and number of threads.
    """
    return {
        "spec_sha256": job.spec_sha256,
        "data_sha256": job.data_sha256,
        "seed": job.seed,
        "weights_sha256": weights_sha256,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "device": device_name(device),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "deterministic": device.type == "cpu",
        "attempts": job.attempt,
        "rows": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "seconds": round(seconds, 3),
    }
