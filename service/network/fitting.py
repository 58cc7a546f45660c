"""Which stored tensor each tensor of a pretrained block starts from."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from service.blocks.pretrained import Pretrained
from service.errors import InvalidSpec, Problem
from service.network.modules import LayerRecord
from service.network.tensors import FLOATS, Stored

WRAPPERS = ("kernel", "cell")
"""Modules of ours that other programs' names have no counterpart for: our `conv1.kernel.weight` is `conv1.weight`."""
COUNTER = "num_batches_tracked"
"""What torch counts in batch normalisations and nothing here reads: files may lack it."""
SHOWN = 100
"""Problems, and names in each, that an answer lists at most."""


def fit(record: LayerRecord, stored: Stored) -> dict[str, str]:
    """Return the name of a stored tensor for each tensor of a pretrained block, by its name in the block's module.

    Raises:
        InvalidSpec: A tensor has no counterpart, or one of another shape or type; or a `rename` leads nowhere.
    """
    block, own = record.layer, record.module.state_dict()
    assert isinstance(block, Pretrained)
    problems = _lost(block.rename, own, stored, record.path)
    found, pairs = _renamed(block.rename, stored, record.path), {}
    for name, tensor in own.items():
        source = next((found[alias] for alias in _aliases(name) if alias in found), None)
        if source is not None:
            pairs[name] = source
            problems += _misfits(_place(record, name), name, tensor, source, stored)
        elif not name.endswith(COUNTER):
            message = f"the weights have no tensor for {_plain(name)!r}, of shape {list(tensor.shape)}"
            problems.append(Problem(_place(record, name), message, None, list(stored)[:SHOWN]))
    if problems:
        raise InvalidSpec(problems[:SHOWN])
    return pairs


@torch.no_grad()
def put(module: nn.Module, values: Iterable[tuple[str, Tensor]]) -> None:
    """Copy tensors to where a module has these names, in its own type."""
    own = module.state_dict()
    for name, value in values:
        own[name].copy_(value)


def _plain(name: str) -> str:
    return name.removeprefix("layers.")


def _aliases(name: str) -> Iterator[str]:
    """Yield the names that a tensor of a block may have in a file: ours in full first, then as others call it."""
    yield name
    yield _plain(name)
    yield ".".join(step for step in _plain(name).split(".") if step not in WRAPPERS)


def _beginnings(name: str) -> Iterator[str]:
    """Yield a.b.c, a.b and a."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _renamed(rename: Mapping[str, str], stored: Stored, path: str) -> dict[str, str]:
    """Return the stored names by what they are called here; of several beginnings the longest decides."""
    found, given = {name: name for name in stored}, dict[str, str]()
    for name in stored:
        start = next((start for start in _beginnings(name) if start in rename), None)
        if start is None:
            continue
        new = rename[start] + name[len(start) :]
        if new in given:
            message = f"gives {new!r} two tensors: {given[new]!r} and {name!r}"
            raise InvalidSpec([Problem(f'{path}.rename["{start}"]', message, rename[start], "one tensor each")])
        given[new] = name
        del found[name]
    return found | given


def _lost(rename: Mapping[str, str], own: Mapping[str, object], stored: Stored, path: str) -> list[Problem]:
    """Return the problems of beginnings that no tensor has, and of layers that do not exist."""
    starts, layers = set(rename), set(rename.values())
    for name in stored:
        starts.difference_update(_beginnings(name))
    for name in own:
        for alias in _aliases(name):
            layers.difference_update(_beginnings(alias))
    here = list(dict.fromkeys(_plain(name).partition(".")[0] for name in own))[:SHOWN]
    problems = []
    for start, layer in rename.items():
        place = f'{path}.rename["{start}"]'
        if start in starts:
            message = f"is the beginning of no tensor: {start!r}"
            problems.append(Problem(place, message, start, list(stored)[:SHOWN]))
        if layer in layers:
            problems.append(Problem(place, f"is the name of no layer with weights here: {layer!r}", layer, here))
    return problems


def _misfits(place: str, name: str, tensor: Tensor, source: str, stored: Stored) -> Iterator[Problem]:
    kept, needed = stored[source], list(tensor.shape)
    if list(kept.shape) != needed:
        message = f"the stored tensor {source!r} has the shape {list(kept.shape)}, and {_plain(name)!r} needs {needed}"
        yield Problem(place, message, list(kept.shape), needed)
    if tensor.is_floating_point() and kept.dtype not in FLOATS:
        message = f"the stored tensor {source!r} is of type {kept.dtype}, and {_plain(name)!r} needs floats"
        yield Problem(place, message, kept.dtype, list(FLOATS))


def _place(record: LayerRecord, name: str) -> str:
    """Return where the JSON says what a tensor belongs to."""
    block = record.layer
    assert isinstance(block, Pretrained)
    if block.from_model:
        return f"{record.path}.source"
    layers = record.module.get_submodule("layers")
    names = [child for child, _ in layers.named_children()]
    return f"{record.path}.layers[{names.index(_plain(name).partition('.')[0])}]"
