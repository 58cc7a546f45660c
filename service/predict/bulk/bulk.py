"""One model's answers to any number of rows, tile by tile, in memory that does not grow with them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from service.data.frame import Frame, rows_of
from service.data.numbering import numbered
from service.errors import TooLarge
from service.predict.abstention import Abstention
from service.predict.answers import most_rows
from service.predict.cache import LoadedModel
from service.predict.messages import PredictOptions
from service.predict.plan import Plan
from service.predict.predict import answered, check_samples, check_tokens, note_of, planned
from service.settings import Settings

STEP_TILES = 64
"""Tiles of Monte-Carlo work in one step: between two steps others have their turn, and a step is not broken off."""


@dataclass(frozen=True)
class Bulk:
    """How one model answers. What is random follows from the seed alone, so rows may be cut anywhere.

    Only the rounding of float32 depends on the cut.
    """

    loaded: LoadedModel
    asked: PredictOptions
    plan: Plan
    abstention: Abstention | None
    tile_bytes: int

    @classmethod
    def of(cls, loaded: LoadedModel, asked: PredictOptions, settings: Settings) -> Self:
        """Return how the model answers what is asked.

        Raises:
            InvalidInput: More samples than the settings allow, or something that this model cannot answer.
        """
        check_samples(asked.mc_samples, settings)
        plan, abstention = planned(loaded, asked)
        return cls(loaded, asked, plan, abstention, settings.predict_tile_bytes)

    def check_work(self, rows: int, settings: Settings) -> None:
        """Refuse what would take too long.

        Raises:
            TooLarge: More numbers to compute than the settings allow.
        """
        samples, values, most = self.plan.networks, self.plan.answers.values, settings.max_stream_values
        if rows * samples * values > most:
            raise TooLarge(
                f"{rows:,} rows x {samples:,} samples x {values:,} outputs are more than the {most:,} numbers that may "
                "be computed of one file: ask for fewer samples, or send fewer rows."
            )

    def encoded(self, frames: Iterator[Frame], start: int = 0) -> Iterator[Tensor]:
        """Yield rows as the network takes them, [rows, *shape]; the first is row `start` of its file.

        Raises:
            InvalidRows: Values that do not fit, by paths `rows[i].COLUMN`.
        """
        for frame in frames:
            with numbered(start):
                x = torch.from_numpy(self.loaded.features.transform(frame))
                check_tokens(self.loaded, x)
            yield x
            start += rows_of(frame)

    def answers(self, parts: Iterator[Tensor], start: int = 0) -> Iterator[list[Any]]:
        """Yield the predictions of rows, [rows, *shape] each, some at a time; every step may be in another thread.

        Raises:
            InvalidRows: What the network makes of a row is not finite.
        """
        for x in parts:
            for rows in torch.split(x, self.step):
                with numbered(start):
                    predictions = answered(self.loaded, rows, self.plan, self.asked, self.tile_bytes)
                if self.abstention:
                    self.abstention.mark(predictions)
                yield predictions
                start += len(rows)

    @property
    def step(self) -> int:
        """Rows that are answered at once."""
        samples, answers = self.plan.networks, self.plan.answers
        tile = self.loaded.monte_carlo.tile(self.tile_bytes)
        held = answers.holds_samples or self.asked.adaptive is not None or self.asked.return_samples
        fitting = most_rows(answers, samples, self.tile_bytes) if held else tile
        return max(1, min(tile, fitting, STEP_TILES * tile // samples))

    @property
    def about(self) -> dict[str, Any]:
        """What all predictions rest on, as in an answer of JSON."""
        return {
            "mc_samples": self.plan.samples,
            "members": self.plan.members,
            "seed": self.asked.seed,
            "stochastic_layers": self.loaded.monte_carlo.stochastic_layers,
            "calibrated": self.plan.calibration is not None,
            "note": note_of(self.loaded, self.plan, self.asked),
        }
