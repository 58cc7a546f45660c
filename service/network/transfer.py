"""Transfer: layers cut out of the network of a stored model, to stand in another one."""

from collections.abc import Callable
from dataclasses import dataclass

from service.blocks.activations import Activation
from service.blocks.composite import Branch
from service.blocks.embedding import Embedding
from service.blocks.layers import Layer, TrainableLayer, WeightedLayer, inside
from service.blocks.pretrained import Pretrained
from service.blocks.values import AUTO
from service.errors import InvalidSpec, Problem
from service.findings import did_you_mean
from service.network.modules import Network
from service.network.resolution import last_weighted
from service.spec import NetworkSpec

LEARNING = ("trainable", "unfreeze_at_epoch", "learning_rate_factor")


@dataclass(frozen=True)
class Origin:
    """What a stored model was made of: its specification, its network, and what its data said to "auto"."""

    spec: NetworkSpec
    network: Network
    outputs: int
    vocabulary: int | None

    def cut(self, block: Pretrained, path: str) -> list[Layer]:
        """Return the layers behind `after`, up to and with `until`, so that they mean the same anywhere else.

        Raises:
            InvalidSpec: There are none of these names, or nothing lies between them.
        """
        names = [record.name for record in self.network.records]
        problems = [
            Problem(f"{path}.{field}", f"is no layer of this model{did_you_mean(name, names)}", name, names)
            for field, name in (("after", block.after), ("until", block.until))
            if name is not None and name not in names
        ]
        if problems:
            raise InvalidSpec(problems)
        start = 0 if block.after is None else names.index(block.after) + 1
        end = len(names) if block.until is None else names.index(block.until) + 1
        if start >= end:
            field, got = ("after", block.after) if block.until is None else ("until", block.until)
            message = "leaves no layer to take" if block.until is None else f"does not stand behind {block.after!r}"
            raise InvalidSpec([Problem(f"{path}.{field}", message, got, names[start:] or names[:-1])])
        return [self._taken(at) for at in range(start, end)]

    def _taken(self, at: int) -> Layer:
        """Return the layer at a position, by its name."""
        default = None if at == last_weighted(self.spec.layers) else self.spec.activation

        def alone(layer: Layer) -> Layer:
            return self._alone(layer, default)

        return changed(self.spec.layers[at], alone).model_copy(update={"name": self.network.records[at].name})

    def _alone(self, layer: Layer, default: Activation | None) -> Layer:
        """Return a layer that neither its old network's defaults nor its old data have to explain."""
        new: dict[str, object] = {}
        if isinstance(layer, Pretrained):
            # What it once started from is in the model's own weights by now.
            layer = Branch(name=layer.name, layers=layer.layers or [])
        if isinstance(layer, TrainableLayer):
            new = {name: TrainableLayer.model_fields[name].default for name in LEARNING}
        if isinstance(layer, WeightedLayer) and not layer.nonlinear:
            new["activation"] = layer.activation or default
        if getattr(layer, "units", None) == AUTO:
            new["units"] = self.outputs
        if isinstance(layer, Embedding) and layer.input_dim == AUTO:
            new["input_dim"] = self.vocabulary
        return layer.model_copy(update=new)


def changed(layer: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """Return a layer after a change to all layers inside of it, and to itself."""
    inner = {name: [changed(each, change) for each in held] for name, held in inside(layer)}
    return change(layer.model_copy(update=inner))
