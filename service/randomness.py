"""All randomness is a function of (seed, purpose, step), never of history.

So a checkpoint stores no generator state, and a run that was killed anywhere and resumed ends with
the same bits as one that was never disturbed.
"""

import hashlib

import torch
from torch import Tensor


def derive(seed: int, purpose: str, *steps: int) -> int:
    """Return a 63-bit seed that depends on every argument and on nothing else."""
    text = "/".join([str(seed), purpose, *map(str, steps)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *steps: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator for one purpose at one step."""
    return torch.Generator(device=device).manual_seed(derive(seed, purpose, *steps))


def permutation(size: int, seed: int, purpose: str, *steps: int) -> Tensor:
    """Return a shuffled `arange(size)` (int64, on the CPU)."""
    return torch.randperm(size, generator=generator(seed, purpose, *steps))
