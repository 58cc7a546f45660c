"""The receipt of a finished run: everything needed to make the same weights again, and whether that is promised."""

import platform
from importlib.metadata import version
from typing import Any

import torch

from service.store.tables import Job
from worker.device import device_name
from worker.training.loop import Loop
from worker.training.step import Step

LIBRARIES = ("trainyard", "torch", "numpy", "polars")


def receipt(job: Job, loop: Loop, device: torch.device, weights_sha256: str, seconds: float) -> dict[str, Any]:
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
        "devices": loop.spec.training.devices,
        "platform": f"{platform.system()} {platform.machine()}",
        **_arithmetic(loop.take_step),
        "threads": torch.get_num_threads(),
        "deterministic": device.type == "cpu" and not loop.take_step.compiled,
        "attempts": job.attempt,
        "epochs": loop.epoch,
        "steps": loop.step,
        "best_epoch": loop.stopping.best_epoch if loop.stopping and loop.best is not None else None,
        "rows": {"train": len(loop.data.train), "validation": len(loop.data.validation), "test": len(loop.data.test)},
        "seconds": round(seconds, 3),
        "timings": loop.timings.values(),
    }


def _arithmetic(step: Step) -> dict[str, Any]:
    """Return how the steps computed, and how many of them overflowed and were left out."""
    precision = {"precision": step.precision.number, "tf32": step.precision.tf32, "compiled": step.compiled}
    return precision if step.scale is None else {**precision, "steps_skipped": step.scale.skipped}
