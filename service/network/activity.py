"""Penalties on what layers give, gathered while they give it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from service.blocks.regularizers import Regularizer


@dataclass(frozen=True)
class ActivityRule:
    """A module whose outputs are penalised."""

    module: nn.Module
    regularizer: Regularizer


class ActivityPenalties:
    """The penalties of the last forward pass in training; a hook on every module with a rule puts them down."""

    def __init__(self, rules: Sequence[ActivityRule]) -> None:
        self._found: list[Tensor] = []
        for rule in rules:
            rule.module.register_forward_hook(self._hook(rule.regularizer))

    def take(self) -> list[Tensor]:
        """Return the penalties, scalars, and forget them."""
        found = self._found[:]
        self._found.clear()
        return found

    def _hook(self, regularizer: Regularizer) -> Any:
        def put_down(module: nn.Module, _: Any, output: Tensor) -> None:
            if module.training:
                self._found.append(regularizer.activity_penalty(output.float()))

        return put_down
