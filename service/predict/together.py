"""Several requests to one model answered in one pass, each as if it had been alone."""

from collections.abc import Sequence
from itertools import accumulate

import orjson

from service.blocks.base import Strict
from service.errors import TrainyardError
from service.predict.cache import LoadedModel
from service.predict.messages import PredictAnswer, PredictRequest
from service.predict.predict import predict
from service.settings import Settings

LIGHT_TILES = 16
"""Tiles of Monte-Carlo work up to which others may wait for a request: some tens of milliseconds for small networks."""

OPTIONS = [name for name in PredictRequest.model_fields if name != "rows"]
"""In what requests must agree to be run as one."""

Outcome = PredictAnswer | TrainyardError
"""What becomes of a request."""


def runs_of(loaded: LoadedModel, request: PredictRequest) -> int:
    """Return how many times a row is run through a network."""
    return len(request.rows) * max(request.mc_samples, 1) * loaded.monte_carlo.members


def is_light(loaded: LoadedModel, request: PredictRequest, settings: Settings) -> bool:
    """Return whether a request takes so little that others may wait for it and run with it."""
    rows = len(request.rows)
    tile = loaded.monte_carlo.tile(settings.predict_tile_bytes)
    return rows <= settings.predict_batch_rows and runs_of(loaded, request) <= LIGHT_TILES * tile


def answer_together(loaded: LoadedModel, requests: Sequence[PredictRequest], settings: Settings) -> list[Outcome]:
    """Answer each request; those that ask for the same samples run as one.

    A sample is one thinned network for all rows, whoever sent them, so that a row's answer does not depend on the
    rows beside it; only that a matrix product may round a row differently at another place of a batch.
    """
    outcomes: list[Outcome | None] = [None] * len(requests)
    for places in _alike(requests):
        found = _as_one(loaded, [requests[place] for place in places], settings)
        for place, outcome in zip(places, found, strict=True):
            outcomes[place] = outcome
    return [outcome for outcome in outcomes if outcome is not None]


def _alike(requests: Sequence[PredictRequest]) -> list[list[int]]:
    """Return the places of requests that differ in nothing but their rows, group by group."""
    if len(requests) == 1:
        return [[0]]
    groups: dict[bytes, list[int]] = {}
    for place, request in enumerate(requests):
        # As text, since 1 and 1.0 are one number and two keys of an answer.
        options = [getattr(request, name) for name in OPTIONS]
        groups.setdefault(orjson.dumps(options, default=Strict.model_dump), []).append(place)
    return list(groups.values())


def _as_one(loaded: LoadedModel, requests: Sequence[PredictRequest], settings: Settings) -> list[Outcome]:
    if len(requests) == 1:
        return [_alone(loaded, requests[0], settings)]
    rows = [row for request in requests for row in request.rows]
    try:
        whole = predict(loaded, requests[0].model_copy(update={"rows": rows}), settings)
    except TrainyardError:
        # Bad rows of one are no matter of the others, and limits are for every request by itself.
        return [_alone(loaded, request, settings) for request in requests]
    ends = list(accumulate(len(request.rows) for request in requests))
    return [
        whole.model_copy(update={"predictions": whole.predictions[start:end]})
        for start, end in zip([0, *ends], ends, strict=False)
    ]


def _alone(loaded: LoadedModel, request: PredictRequest, settings: Settings) -> Outcome:
    try:
        return predict(loaded, request, settings)
    except TrainyardError as error:
        return error
