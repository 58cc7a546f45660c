"""A whole model as one graph: preprocessing, network and link, for any number of rows."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from service.blocks.noise import set_noise
from service.data.facts import prefixed
from service.data.graph_frame import MISSING, GraphFrame
from service.errors import NotExportable, Problem
from service.export.inputs import GraphInputs
from service.export.noise import GraphNoise
from service.export.outputs import ClassOutputs, ValueOutputs, outputs_of
from service.network.tokens import token_count
from service.predict.cache import LoadedModel

ROWS = 3
"""Of the batch that the graph is followed with; torch takes 0 and 1 for special."""
TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn")
"""What torch notes of the source: paths of this machine, and names of our classes."""


class Whole(nn.Module):
    """From raw columns to answers; a row that the service would refuse comes out as NaN."""

    def __init__(self, loaded: LoadedModel, inputs: GraphInputs, outputs: ClassOutputs | ValueOutputs) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.network = loaded.monte_carlo.network
        self.tokens = token_count(self.network)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Return the answers, [rows, ...] each."""
        frame = self.inputs.frame(given)
        whole = self._whole(frame)
        for place, (step, state) in enumerate(self.inputs.features.steps):
            try:
                frame = step.in_graph(frame, state)
            except NotExportable as error:
                raise NotExportable(prefixed(error.problems, f"data.preprocessing[{place}]")) from error
        x = frame.joined()
        fits = x.isfinite() if self.tokens is None else (x >= 0) & (x < self.tokens) & (x == x.floor())
        sound = torch.stack([*whole, fits.flatten(1).all(dim=1)]).all(dim=0)
        # What the network makes of NaN differs from program to program.
        found = self.outputs(self.network(torch.where(_along(sound, x), x, 0.0)))
        return tuple(torch.where(_along(sound, values), values, torch.nan) for values in found)

    def _whole(self, frame: GraphFrame) -> list[Tensor]:
        """Tell which rows lack nothing but what a step fills in, bool [rows] for each kind of column."""
        fillable = self.inputs.features.fillable
        found = [words.codes != MISSING for name, words in frame.words.items() if name not in fillable]
        if frame.numbers is not None:
            may = torch.tensor([name in fillable for name in frame.named])
            found.append((frame.numbers.isfinite() | (frame.numbers.isnan() & may)).all(dim=1))
        floats = (values for values in frame.tensors.values() if values.is_floating_point())
        return found + [values.isfinite().flatten(1).all(dim=1) for values in floats]


def _along(rows: Tensor, values: Tensor) -> Tensor:
    return rows.reshape(-1, *[1] * (values.ndim - 1))


@dataclass(frozen=True)
class Graph:
    """A model as a graph of torch, what it takes, and what it was made of."""

    program: ExportedProgram
    inputs: GraphInputs
    whole: Whole
    dropout: bool
    """Whether random layers are random."""


def graph_of(loaded: LoadedModel, *, dropout: bool = False) -> Graph:
    """Return a model as a graph that takes any number of rows.

    Without `dropout` it gives what a request with `"mc_samples": 0` gets. With it every call and every row draws a
    thinned network, and gives what one sample of a request gets, calibrated where the model is.

    Raises:
        NotExportable: A step of preprocessing or a layer has no counterpart.
    """
    inputs = GraphInputs.of(loaded.features)
    whole = Whole(loaded, inputs, outputs_of(loaded, calibrated=dropout)).eval().requires_grad_(False)
    rows = Dim("rows", min=1)
    given = tuple(torch.zeros(ROWS, *tensor.shape, dtype=tensor.dtype) for tensor in inputs.given)
    set_noise(whole.network, GraphNoise() if dropout else None)
    try:
        with torch.no_grad(), quiet():
            program = torch.export.export(whole, given, dynamic_shapes={"given": tuple({0: rows} for _ in given)})
    except NotExportable:
        raise
    except Exception as error:
        raise refusal(loaded, torch_follows, error) from error
    finally:
        set_noise(whole.network, None)
    for node in program.graph.nodes:
        for trace in TRACES:
            node.meta.pop(trace, None)
    return Graph(program, inputs, whole, dropout)


def torch_follows(module: nn.Module, x: Tensor) -> None:
    """Raise whatever torch raises when it cannot follow what a module does to rows."""
    torch.export.export(module, (x,), dynamic_shapes=({0: Dim("rows", min=1)},))


def refusal(loaded: LoadedModel, attempt: Callable[[nn.Module, Tensor], None], error: Exception) -> NotExportable:
    """Return why a model cannot be exported: the first layer with which `attempt` fails, else what went wrong."""
    with torch.no_grad(), quiet():
        for record in loaded.monte_carlo.network.records:
            try:
                attempt(record.module, torch.zeros(ROWS, *record.input_shape))
            except Exception as found:
                message = f"has no counterpart in this format: {_first_line(found)}"
                return NotExportable([Problem(record.path, message, record.layer.type)])
    return NotExportable([Problem("format", f"the model has no counterpart in it: {_first_line(error)}")])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what torch has to say about its own parts while it exports."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
