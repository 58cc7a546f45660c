"""What the answers of a model hold, without anybody having asked: for those who describe them."""

from typing import Any

import torch

from service.predict.cache import LoadedModel
from service.predict.messages import PredictRequest
from service.predict.plan import plan_of


def specimen(loaded: LoadedModel, rows: int, samples: int, quantiles: int) -> list[Any]:
    """Return predictions as the model would give them for so many rows, with every field; the numbers mean nothing."""
    levels = [(i + 1) / (quantiles + 1) for i in range(quantiles)]
    request = PredictRequest(rows=[[]] * rows, mc_samples=samples, return_samples=True, quantiles=levels)
    answers = plan_of(loaded, request, keep=True, quantiles=levels).answers
    with torch.inference_mode():
        outputs = torch.zeros(samples, rows, loaded.outputs)
        return answers.of(iter([outputs]), range(rows))
