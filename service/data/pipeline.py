"""The way from raw rows to tensors and back, in one place: what the API, the worker and predictions use.

profile -> check_columns, input_shape_of, target_of, token_count_of, check_shape: no row is read
frame   -> Features.transform, TargetCodec.encode        training
rows    -> Features.of_rows                             prediction
output  -> TargetCodec.decode
"""

from service.data.checks import check_columns, check_shape, input_shape_of, target_of, token_count_of
from service.data.features import Features
from service.data.rows import frame_of_rows
from service.data.target import TargetCodec

__all__ = [
    "Features",
    "TargetCodec",
    "check_columns",
    "check_shape",
    "frame_of_rows",
    "input_shape_of",
    "target_of",
    "token_count_of",
]
