"""Which predictions are too doubtful to be trusted.

Reference: Chow 1970, "On Optimum Recognition Error and Reject Tradeoff"; Geifman and El-Yaniv 2017, "Selective
Classification for Deep Neural Networks".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from service.errors import InvalidInput, Problem
from service.predict.options import Abstain
from service.predict.plan import Plan


@dataclass(frozen=True)
class Abstention:
    """The largest doubts that are accepted, by name."""

    limits: Mapping[str, float]

    @classmethod
    def of(cls, asked: Abstain, plan: Plan) -> "Abstention":
        """Return the limits that a request names, or that its share of the validation rows comes to.

        Raises:
            InvalidInput: It names a doubt that this model does not answer.
        """
        places = {f"abstain.above.{name}": name for name in asked.above or {}}
        places |= {"abstain.by": asked.by} if asked.by else {}
        problems = [
            Problem(path, "is not known of this model's predictions", name, list(plan.doubts))
            for path, name in places.items()
            if name not in plan.doubts
        ]
        if problems:
            raise InvalidInput(problems)
        if asked.above is not None:
            return cls({str(name): limit for name, limit in asked.above.items()})
        assert asked.coverage is not None and plan.calibration is not None
        by = asked.by or plan.doubts[0]
        return cls({by: plan.calibration.doubts[by].quantile(asked.coverage)})

    def mark(self, predictions: Iterable[dict[str, Any]]) -> None:
        """Say in each prediction whether one of its doubts is above the limit."""
        for prediction in predictions:
            prediction["abstained"] = any(_most(prediction[name]) > limit for name, limit in self.limits.items())


def _most(doubt: float | list[float]) -> float:
    return max(doubt) if isinstance(doubt, list) else doubt
