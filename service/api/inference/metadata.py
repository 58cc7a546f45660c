"""What the protocol says of a model before it is asked."""

from service.api.inference.inputs import described
from service.api.inference.messages import ModelConfig, ModelMetadata, TensorConfig, TensorMetadata
from service.api.inference.outputs import tensors_of
from service.predict.cache import LoadedModel
from service.predict.specimen import specimen
from service.settings import Settings
from service.store import tables

PLATFORM = "trainyard"
VERSION = "1"
"""The only version that a model has: another training is another model."""


def outputs_of(loaded: LoadedModel) -> list[TensorMetadata]:
    """Return everything that can be asked for; sizes that differ from request to request are -1."""
    # Two requests that agree in nothing: what agrees in their answers is the model's own.
    one, two = (tensors_of(loaded, specimen(loaded, *sizes)) for sizes in ((1, 2, 3), (2, 3, 4)))
    return [
        TensorMetadata(
            name=a.name,
            datatype=a.datatype,
            shape=[size if size == other else -1 for size, other in zip(a.values.shape, b.values.shape, strict=True)],
            parameters={name: text for name, text in a.parameters.items() if b.parameters.get(name) == text},
        )
        for a, b in zip(one, two, strict=True)
    ]


def metadata(name: str, loaded: LoadedModel) -> ModelMetadata:
    """Return what a model takes and gives, under the name it was asked for by."""
    inputs = described(loaded.features.columns)
    return ModelMetadata(name=name, versions=[VERSION], platform=PLATFORM, inputs=inputs, outputs=outputs_of(loaded))


def config(name: str, loaded: LoadedModel, row: tables.Model, settings: Settings) -> ModelConfig:
    """Return how a model is served."""
    known = {} if row.job is None else {"job": row.job}
    known |= {"weights_sha256": row.weights_sha256, "max_rows": str(settings.max_predict_rows)}
    return ModelConfig(
        name=name,
        platform=PLATFORM,
        backend=PLATFORM,
        version_policy={"latest": {"num_versions": 1}},
        max_batch_size=0,
        input=[_config(tensor) for tensor in described(loaded.features.columns)],
        output=[_config(tensor) for tensor in outputs_of(loaded)],
        parameters={key: {"string_value": value} for key, value in known.items()},
    )


def _config(tensor: TensorMetadata) -> TensorConfig:
    data_type = "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
    return TensorConfig(name=tensor.name, data_type=data_type, dims=tensor.shape)
