"""What a specification contradicts itself in: rules that need two of its parts, but no data."""

from collections.abc import Callable, Iterator

from service.blocks.layers import TrainableLayer, WeightedLayer, everywhere
from service.blocks.metrics import Metric
from service.blocks.plateau import ReduceOnPlateau
from service.blocks.pretrained import Pretrained
from service.blocks.reshaping import ActivationLayer
from service.blocks.values import AUTO
from service.errors import Problem
from service.findings import did_you_mean
from service.network.resolution import last_weighted
from service.spec import JobSpec

Sound = Callable[..., bool]
Check = Callable[[JobSpec], Iterator[Problem]]
MOST_PRETRAINED = 16
"""Blocks whose sources are read for one specification."""


def contradictions(spec: JobSpec, sound: Sound) -> list[Problem]:
    """Return what contradicts itself in `spec`, looking only at parts that `sound` calls so."""
    return [problem for places, check in CHECKS if sound(*places) for problem in check(spec)]


def some_weights(spec: JobSpec) -> Iterator[Problem]:
    """A network without weights has nothing to learn."""
    if last_weighted(spec.network.layers) < 0:
        allowed = 'at least one layer with weights, e.g. {"type": "dense", "units": "auto"}'
        yield Problem("network.layers", "needs a layer with weights", None, allowed)


def auto_only_last(spec: JobSpec) -> Iterator[Problem]:
    """The data decide the outputs of the network, not the width of layers inside it."""
    last = last_weighted(spec.network.layers)
    for index, layer in enumerate(spec.network.layers):
        if index != last and getattr(layer, "units", None) == AUTO:
            message = '"auto" is only for the last layer with weights, whose outputs the loss and the data decide'
            yield Problem(f"network.layers[{index}].units", message, AUTO, "a whole number")


def names_differ(spec: JobSpec) -> Iterator[Problem]:
    """A name stands for one layer."""
    seen: set[str] = set()
    for index, layer in enumerate(spec.network.layers):
        if layer.name is not None and layer.name in seen:
            yield Problem(
                f"network.layers[{index}].name", "is the name of another layer, too", layer.name, "a new name"
            )
        seen.add(layer.name or f"{layer.type}_{index}")


def epochs_to_thaw(spec: JobSpec) -> Iterator[Problem]:
    """What is to learn from an epoch on needs that epoch."""
    epochs = spec.training.epochs
    for path, layer in everywhere(spec.network.layers, "network.layers"):
        epoch = layer.unfreeze_at_epoch if isinstance(layer, TrainableLayer) else None
        if epoch is not None and epoch > epochs:
            message = f"never comes: training.epochs is {epochs}"
            yield Problem(f"{path}.unfreeze_at_epoch", message, epoch, {"le": epochs})


def sources_suffice(spec: JobSpec) -> Iterator[Problem]:
    """A model knows its layers; imported weights are tensors alone."""
    found = [(path, x) for path, x in everywhere(spec.network.layers, "network.layers") if isinstance(x, Pretrained)]
    if len(found) > MOST_PRETRAINED:
        message = f"has {len(found)} pretrained blocks; at most {MOST_PRETRAINED} are looked up"
        yield Problem("network.layers", message, len(found), MOST_PRETRAINED)
    for path, layer in found:
        if path.count("[") > 1:
            yield Problem(path, "cannot stand inside of another layer", layer.type, "a place in network.layers")
        yield from _missing_or_idle(path, layer)


def _missing_or_idle(path: str, layer: Pretrained) -> Iterator[Problem]:
    if not layer.from_model and layer.layers is None:
        message = "is required: imported weights do not say which layers they belong to"
        yield Problem(f"{path}.layers", message, None, "a list of layers")
    if layer.from_model and layer.layers is not None and layer.weights_sha256 is None:
        yield Problem(f"{path}.layers", "is for imported weights: a model knows its layers", None, None)
    idle = ("rename",) if layer.from_model else ("after", "until")
    whose = "imported weights: a model's tensors are found by its layers" if layer.from_model else "a model"
    for name in idle:
        if value := getattr(layer, name):
            yield Problem(f"{path}.{name}", f"is for {whose}", value, None)


def logits_last(spec: JobSpec) -> Iterator[Problem]:
    """Losses of classes take logits; probabilities would pass through softmax twice."""
    if spec.loss.task == "regression" and spec.loss.type != "kl_divergence":
        return
    last = max(0, last_weighted(spec.network.layers))
    for index, layer in enumerate(spec.network.layers[last:], last):
        activation = layer.activation if isinstance(layer, WeightedLayer | ActivationLayer) else None
        if activation is not None and activation.probabilities:
            message = f"{spec.loss.type} takes logits, and predictions apply its link by themselves: leave this out"
            yield Problem(f"network.layers[{index}].activation", message, activation.type, "linear")


def metrics_suit(spec: JobSpec) -> Iterator[Problem]:
    """A metric of classes says nothing of numbers, and one name stands for one metric."""
    seen: set[str] = set()
    for index, metric in enumerate(spec.metrics):
        task = spec.loss.task
        if task not in metric.tasks:
            message = f"is a metric of {' and '.join(metric.tasks)}; {spec.loss.type} is here a loss of {task}"
            fitting = [tag for tag, member in Metric.members().items() if task in member.tasks]
            yield Problem(f"metrics[{index}]", message, metric.type, fitting)
        elif metric.key in seen:
            yield Problem(f"metrics[{index}]", "stands twice", metric.key, "every metric once")
        seen.add(metric.key)


def variance_is_there(spec: JobSpec) -> Iterator[Problem]:
    """A likelihood under predicted noise needs a network that predicts it."""
    for index, metric in enumerate(spec.metrics):
        if metric.type == "gaussian_log_likelihood" and spec.loss.type != "gaussian_nll":
            message = f"needs a predicted variance, which {spec.loss.type} does not give"
            yield Problem(f"metrics[{index}]", message, metric.type, 'the loss "gaussian_nll"')


def monitor_exists(spec: JobSpec) -> Iterator[Problem]:
    """Early stopping looks at something that is measured."""
    stopping = spec.regularization.early_stopping
    if stopping is None:
        return
    yield from _measured(spec, stopping.monitor, "regularization.early_stopping.monitor")


def _measured(spec: JobSpec, monitor: str, path: str) -> Iterator[Problem]:
    names = ["loss", *(metric.key for metric in spec.metrics if metric.scalar)]
    allowed = [f"val_{name}" for name in names] * (spec.data.split.validation > 0) + names
    if monitor not in allowed:
        known = monitor.removeprefix("val_") in names
        message = "needs validation rows, and data.split.validation is 0" if known else "is not measured"
        message += "" if known else did_you_mean(monitor, allowed)
        yield Problem(path, message, monitor, allowed)


def best_is_kept(spec: JobSpec) -> Iterator[Problem]:
    """Whoever stops because an epoch was the best wants its weights."""
    if spec.training.keep == "last" and spec.regularization.early_stopping is not None:
        message = "would be the weights of epochs that brought nothing: early stopping goes back to the best one"
        yield Problem("training.keep", message, "last", "best, or no regularization.early_stopping")


def plateau_exists(spec: JobSpec) -> Iterator[Problem]:
    """The rate follows something that is measured."""
    if not isinstance(spec.schedule, ReduceOnPlateau) or spec.schedule.monitor is None:
        return
    yield from _measured(spec, spec.schedule.monitor, "schedule.monitor")


def whole_gradients(spec: JobSpec) -> Iterator[Problem]:
    """A line search compares losses; a gradient that is cut off does not belong to them."""
    if not spec.optimizer.searches:
        return
    for name in ("clip_norm", "clip_value"):
        if getattr(spec.regularization, name) is not None:
            message = f"cuts the gradient off, on which the line search of {spec.optimizer.type} relies"
            yield Problem(f"regularization.{name}", message, getattr(spec.regularization, name), None)


def steps_to_skip(spec: JobSpec) -> Iterator[Problem]:
    """In float16 some steps overflow and are left out; a line search cannot leave out a look."""
    if spec.optimizer.searches and spec.training.precision == "float16":
        message = f"has steps that overflow and are left out, which the line search of {spec.optimizer.type} cannot do"
        yield Problem("training.precision", message, "float16", ["auto", "float32", "bfloat16"])


def shared_steps(spec: JobSpec) -> Iterator[Problem]:
    """Passes that several devices share are neither compiled nor scaled."""
    training = spec.training
    if training.devices > 1 and training.precision == "float16":
        message = "scales the loss by what its last steps came to, which several devices do not tell each other"
        yield Problem("training.precision", message, "float16", ["auto", "float32", "bfloat16"])
    if training.devices > 1 and training.compile:
        yield Problem("training.compile", "cannot compile what several devices exchange in a step", True, [False])


def replicas_fit(spec: JobSpec) -> Iterator[Problem]:
    """Networks that train together share one device, and the steps that are recorded for all of them."""
    training, many = spec.training, spec.replicas
    if many == 1:
        return
    if training.devices > 1:
        yield Problem("training.devices", f"{many} replicas train on one device", training.devices, [1])
    if training.compile:
        yield Problem("training.compile", f"compiles the steps of one network, and replicas is {many}", True, [False])
    if training.seed + many > 2**63:
        message = f"leaves no seeds for {many} replicas: each has the next one"
        yield Problem("training.seed", message, training.seed, {"le": 2**63 - many})


CHECKS: tuple[tuple[tuple[str, ...], Check], ...] = (
    (("network",), some_weights),
    (("network",), auto_only_last),
    (("network",), names_differ),
    (("network", "training"), epochs_to_thaw),
    (("network",), sources_suffice),
    (("network", "loss"), logits_last),
    (("loss", "metrics"), metrics_suit),
    (("loss", "metrics"), variance_is_there),
    (("loss", "metrics", "regularization", "data.split"), monitor_exists),
    (("regularization", "training"), best_is_kept),
    (("loss", "metrics", "schedule", "data.split"), plateau_exists),
    (("optimizer", "regularization"), whole_gradients),
    (("optimizer", "training"), steps_to_skip),
    (("training",), shared_steps),
    (("training", "replicas"), replicas_fit),
)
"""Every rule, and the parts of the specification that it reads."""
