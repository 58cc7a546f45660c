"""Models in memory: each loaded once, the least recently used dropped when there are too many bytes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property

import torch

from service.data.pipeline import Features, TargetCodec
from service.data.profile import ColumnProfile
from service.errors import NotFound
from service.network import Network, build_network, load_weights
from service.network.stacked import unpacked_weights
from service.network.tokens import token_count
from service.spec import JobSpec
from service.store import aliases, models
from service.store.blobs import blob_bytes
from service.store.engine import Store
from service.store.tables import Model
from service.uncertainty.calibration import Calibration
from service.uncertainty.ensembles import Ensemble
from service.uncertainty.monte_carlo import MonteCarlo

TRUSTED_SECONDS = 1.0
"""How long a model in memory is answered from before the store is asked again whether it still exists."""
OVERHEAD_BYTES = 64 * 1024
"""What a model takes besides its weights: modules, preprocessing, specification, calibration."""


@dataclass(frozen=True)
class LoadedModel:
    """A trained network with everything needed to answer raw rows. Any number of threads may use it at once."""

    id: str
    spec: JobSpec
    features: Features
    target: TargetCodec
    monte_carlo: MonteCarlo
    outputs: int
    calibration: Calibration | None = None
    """What was fitted on validation rows."""
    target_columns: tuple[ColumnProfile, ...] = ()
    """The target as the data set had it."""
    data_sha256: str | None = None
    """Hash of the data that it was trained on."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.monte_carlo.device

    @cached_property
    def takes_tokens(self) -> bool:
        """Whether rows hold token ids; to ask the network takes longer than to run a small one."""
        return token_count(self.monte_carlo.network) is not None

    @property
    def size(self) -> int:
        """Bytes that the model takes."""
        return self.monte_carlo.weights_bytes + OVERHEAD_BYTES * self.monte_carlo.members


def load(store: Store, model_id: str) -> LoadedModel:
    """Read a model from the store.

    Raises:
        NotFound: There is no such model.
        CorruptBlob: Its weights in the store fail their SHA-256.
    """
    with store.read() as session:
        row = models.get(session, model_id)
    return assembled(row, blob_bytes(store, row.weights_sha256))


def assembled(row: Model, weights: bytes) -> LoadedModel:
    """Return a model from what is stored of it.

    Raises:
        CorruptBlob: The weights are not those of its network.
    """
    spec, features, network = rebuilt(row)
    columns = {column["name"]: column for column in row.columns}
    return LoadedModel(
        id=row.id,
        spec=spec,
        features=features,
        target=TargetCodec.from_json(row.preprocessing["target"]),
        monte_carlo=_sampler(network, weights, row.members),
        outputs=int(row.preprocessing["outputs"]),
        calibration=None if row.calibration is None else Calibration.from_json(row.calibration),
        target_columns=tuple(ColumnProfile.model_validate(columns[name]) for name in spec.data.targets),
        data_sha256=row.receipt.get("data_sha256"),
    )


def _sampler(network: Network, weights: bytes, members: int | None) -> MonteCarlo:
    """Return what runs a model: one network, or several with stacked weights."""
    if members is not None:
        return Ensemble(network, unpacked_weights(network, weights, members))
    network.to_empty(device="cpu")
    load_weights(network, weights)
    return MonteCarlo(network)


def rebuilt(row: Model) -> tuple[JobSpec, Features, Network]:
    """Return what a stored model was trained by, how it reads rows, and its network on the meta device."""
    spec, features = JobSpec.model_validate(row.spec), Features.from_json(row.preprocessing["features"])
    shape, outputs = tuple(row.preprocessing["input_shape"]), int(row.preprocessing["outputs"])
    # What was trained fits: the limit on parameters was held when the job was accepted.
    limit = max(row.parameters, 1)
    return spec, features, build_network(spec.network, spec.regularization, shape, outputs, limit, features.vocabulary)


@dataclass
class _Entry:
    model: LoadedModel
    size: int
    checked: float


@dataclass
class ModelCache:
    """The models of one process, by id. Any number of threads may use it at once."""

    store: Store
    max_bytes: int
    clock: Callable[[], float] = time.monotonic
    _held: OrderedDict[str, _Entry] = field(default_factory=OrderedDict, init=False)
    _loading: dict[str, Future[LoadedModel]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def held_bytes(self) -> int:
        """Bytes of all models in memory."""
        with self._lock:
            return sum(entry.size for entry in self._held.values())

    def get(self, model_id: str) -> LoadedModel:
        """Return a model, from memory where it is there.

        Threads that ask for the same model while it is read wait for the one that reads it.

        Raises:
            NotFound: There is no such model, or no longer.
            CorruptBlob: Its weights in the store fail their SHA-256.
        """
        with self._lock:
            entry = self._held.get(model_id)
            if entry is not None:
                self._held.move_to_end(model_id)
            reader = entry is None and model_id not in self._loading
            future = self._loading.setdefault(model_id, Future()) if entry is None else None
        if entry is not None:
            return self._still_there(entry)
        assert future is not None
        if reader:
            self._load(model_id, future)
        return future.result()

    def find(self, reference: str) -> LoadedModel:
        """Return the model that an id or an alias names at this moment, as `get` does.

        Raises:
            NotFound: There is no such model or alias.
            CorruptBlob: Its weights in the store fail their SHA-256.
        """
        if not aliases.is_alias(reference):
            return self.get(reference)
        model_id = self._resolved(reference)
        try:
            return self.get(model_id)
        except NotFound:
            # Moved and its former model deleted, both in this moment: the name leads somewhere all the time.
            if (moved := self._resolved(reference)) == model_id:
                raise
            return self.get(moved)

    def held(self, model_id: str) -> LoadedModel | None:
        """Return a model that is in memory and was there in the store a moment ago, without asking anybody."""
        with self._lock:
            entry = self._held.get(model_id)
            if entry is None or self.clock() - entry.checked > TRUSTED_SECONDS:
                return None
            self._held.move_to_end(model_id)
            return entry.model

    def _resolved(self, alias: str) -> str:
        with self.store.read() as session:
            return aliases.resolve(session, alias)

    def forget(self, model_id: str) -> None:
        """Drop a model, as when it was deleted."""
        with self._lock:
            self._held.pop(model_id, None)

    def _still_there(self, entry: _Entry) -> LoadedModel:
        """Return the model, having asked the store now and then whether another process has deleted it."""
        if self.clock() - entry.checked > TRUSTED_SECONDS:
            try:
                with self.store.read() as session:
                    models.get(session, entry.model.id)
            except NotFound:
                self.forget(entry.model.id)
                raise
            entry.checked = self.clock()
        return entry.model

    def _load(self, model_id: str, future: Future[LoadedModel]) -> None:
        try:
            model = load(self.store, model_id)
        except BaseException as error:
            with self._lock:
                del self._loading[model_id]
            future.set_exception(error)
            return
        with self._lock:
            del self._loading[model_id]
            self._hold(model)
        future.set_result(model)

    def _hold(self, model: LoadedModel) -> None:
        entry = _Entry(model, model.size, self.clock())
        if entry.size > self.max_bytes:
            return
        self._held[model.id] = entry
        total = sum(held.size for held in self._held.values())
        while total > self.max_bytes:
            _, oldest = self._held.popitem(last=False)
            total -= oldest.size
