"""The receipt of a finished run: everything needed to make the same weights again, and whether that is promised."""

import platform
from importlib.metadata import version
from typing import Any

import torch

from service.spec import JobSpec
from service.store.tables import Job
from worker.device import device_name
from worker.rows import TrainingData
from worker.training.trained import Result

LIBRARIES = ("trainyard", "torch", "numpy", "polars")


def receipt(
    job: Job, spec: JobSpec, data: TrainingData, device: torch.device, weights_sha256: str, found: Result
) -> dict[str, Any]:
    """Return what decided the result, as JSON values.

    Bits are promised for the same spec, data, seed, versions, kind of device and number of threads; not for compiled
    steps, whose kernels are a matter of the machine's compiler, too.
    """
    return {
        "spec_sha256": job.spec_sha256,
        "data_sha256": job.data_sha256,
        "seed": job.seed,
        "weights_sha256": weights_sha256,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "device": device_name(device),
        "devices": spec.training.devices,
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "deterministic": device.type == "cpu" and found.deterministic,
        "attempts": job.attempt,
        "best_epoch": found.best_epoch,
        "rows": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        **found.facts,
    }
