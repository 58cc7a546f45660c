"""Files written, profiled and read back, in a line; and the specifications that go with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.data.formats import Limits, profile_file, read_frame
from service.data.frame import Frame
from service.data.profile import ColumnProfile, Profile
from service.settings import Settings
from service.spec import JobSpec

LIMITS = Limits.of(Settings())


@dataclass(frozen=True)
class Uploaded:
    """A file and its profile."""

    path: Path
    format: str
    profile: Profile

    def __getitem__(self, name: str) -> ColumnProfile:
        return next(column for column in self.profile.columns if column.name == name)

    def read(self, *wanted: str, rows: int | None = None) -> Frame:
        return read_frame(self.path, self.format, self.profile.columns, list(wanted) or None, rows)

    def values(self, name: str) -> list[Any]:
        return list(self.read(name)[name].values)

    def listed(self, name: str) -> list[tuple[Any, int]]:
        return [(item.value, item.count) for item in self[name].categories or ()]


@dataclass(frozen=True)
class Uploader:
    """Writes files into a folder."""

    folder: Path

    def __call__(self, data: bytes | str, format: str = "csv", limits: Limits = LIMITS) -> Uploaded:
        path = self.folder / f"data.{format}"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return Uploaded(path, format, profile_file(path, format, limits))


def spec_of(loss: str = "cross_entropy", **data: Any) -> JobSpec:
    """Return a job specification with these fields of `data`."""
    layers = [{"type": "dense", "units": "auto"}]
    body = {"network": {"layers": layers}, "loss": loss, "data": {"dataset": "ds_" + "0" * 26, **data}}
    return JobSpec.model_validate(body)
