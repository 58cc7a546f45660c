"""A ZIP of images in folders, one folder a class: columns `image` and `label`, and `split` where folders say so.

Nothing is unpacked to a file. The shape of the column `image` is all that reading the file again needs to know:
every image is brought to its size and channels. Shapes: h height, w width, c channels.
"""

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from service.data import text
from service.data.archives import PARTS, files_of, steps_of, unzipped
from service.data.collector import Collector
from service.data.frame import Column, Frame
from service.data.profile import ColumnProfile, Profile
from service.data.reader import Format, Limits, Reader, invalid
from service.data.table import TableCollector
from service.data.tensors import TensorCollector
from service.errors import InvalidDataset

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
MAX_BYTES = 64 << 20
MAX_PIXELS = 1 << 26
"""Pixels of one image as it was uploaded; decoding takes a few bytes for each."""
BLOCK = 4 << 20
"""Values profiled at a time."""
_CODECS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F")
_ALLOWED = "a ZIP of images (" + ", ".join(SUFFIXES) + ") in one folder a class"


@dataclass(frozen=True)
class ImageOptions:
    """What images are brought to, where the upload says so: height and width, 1 (grey) or 3 channels (RGB)."""

    size: tuple[int, int] | None = None
    channels: int | None = None


@dataclass(frozen=True)
class _Entry:
    """One image of the archive."""

    info: zipfile.ZipInfo
    label: str
    part: str = ""

    @property
    def name(self) -> str:
        return self.info.filename


def _entries(archive: zipfile.ZipFile) -> list[_Entry]:
    """Return the images with their classes, in the order of the archive."""
    members = files_of(archive)
    if not members:
        raise invalid("the archive holds no images", allowed=_ALLOWED)
    for info in members:
        if not info.filename.lower().endswith(SUFFIXES):
            raise invalid(f"{info.filename!r} is not an image", info.filename, allowed=list(SUFFIXES))
        if info.file_size > MAX_BYTES:
            raise invalid(f"{info.filename!r} has {info.file_size} bytes; an image may have {MAX_BYTES}", info.filename)
    paths = _unwrapped([steps_of(info) for info in members])
    heads = {path[0].lower() for path in paths}
    parted = len(heads) > 1 and heads <= PARTS.keys() and all(len(path) > 2 for path in paths)
    entries = []
    for info, path in zip(members, paths, strict=True):
        if len(path) < 2:
            raise invalid(f"{info.filename!r} lies in no folder that names its class", info.filename, allowed=_ALLOWED)
        part = PARTS[path[0].lower()] if parted else ""
        label = path[1 if parted else 0].strip(text.BLANKS)
        if label in text.MISSING:
            raise invalid(f"the folder {label!r} of {info.filename!r} stands for a missing value", info.filename, label)
        entries.append(_Entry(info, label, part))
    return entries


def _unwrapped(paths: list[list[str]]) -> list[list[str]]:
    """Return the paths without the folders that hold everything, as long as there is another folder in them."""
    while len({path[0] for path in paths}) == 1 and all(len(path) > 2 for path in paths):
        paths = [path[1:] for path in paths]
    return paths


@contextmanager
def _image(archive: zipfile.ZipFile, entry: _Entry) -> Iterator[Image.Image]:
    """Open one image; what its decoder makes of a broken file, here or later, is answered for."""
    try:
        with Image.open(io.BytesIO(archive.read(entry.info)), formats=_CODECS) as image:
            if image.width * image.height > MAX_PIXELS:
                message = f"{entry.name!r} has {image.width} x {image.height} pixels; an image may have {MAX_PIXELS}"
                raise invalid(message, entry.name)
            if image.mode.startswith(_DEEP):
                message = f"{entry.name!r} has more than 8 bits a channel (mode {image.mode})"
                raise invalid(message, entry.name, image.mode, "8 bits a channel")
            yield image
    except InvalidDataset:
        raise
    # Decoders raise whatever a broken file leads them to, SyntaxError and struct.error among it.
    except Exception as error:
        raise invalid(
            f"{entry.name!r} cannot be read as an image: {error}", entry.name, allowed=list(_CODECS)
        ) from error


def _shape(archive: zipfile.ZipFile, entries: Sequence[_Entry], options: ImageOptions) -> tuple[int, int, int]:
    """Return [h, w, c] that all images are read with: what was asked for, else what they have in common."""
    size, channels = options.size, options.channels
    if size and channels:
        return (*size, channels)
    coloured = False
    for entry in entries:
        with _image(archive, entry) as image:
            own = (image.height, image.width)
            coloured = coloured or image.mode not in _GREY
        size = size or own
        if own != size and options.size is None:
            message = (
                f"{entry.name!r} has {own[0]} x {own[1]} pixels (height x width), {entries[0].name!r} has "
                f"{size[0]} x {size[1]}; upload with ?image_size={size[0]}x{size[1]}, or another size, to resize all"
            )
            raise invalid(message, entry.name, list(own), list(size))
    assert size is not None
    return (*size, channels or (3 if coloured else 1))


def _pixels(archive: zipfile.ZipFile, entry: _Entry, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Return one image, uint8 [h, w, c]: its first frame, without transparency, resized bilinearly where need be."""
    height, width, channels = shape
    with _image(archive, entry) as image:
        # Pillow warns of palettes with several transparent colours unless they go by way of RGBA.
        opaque = image.convert("RGBA") if "transparency" in image.info else image
        converted = opaque.convert("L" if channels == 1 else "RGB")
        if converted.size != (width, height):
            converted = converted.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(converted, np.uint8).reshape(height, width, channels)


def profile(path: Path, limits: Limits, options: ImageOptions = ImageOptions()) -> Profile:
    """Profile a ZIP of images."""
    with unzipped(path, _ALLOWED) as archive:
        entries = _entries(archive)
        limits.check_unpacked(sum(entry.info.file_size for entry in entries))
        shape = _shape(archive, entries, options)
        limits.check_unpacked(len(entries) * shape[0] * shape[1] * shape[2], "the array of images")
        images = TensorCollector("image", shape, "uint8")
        for block in _blocks(archive, entries, shape):
            images.add(block)
    labels, parts = Collector("label", written=False), Collector("split", written=False)
    labels.add(pl.Series([entry.label for entry in entries]))
    parts.add(pl.Series([entry.part for entry in entries]))
    table = TableCollector([images, labels, parts] if entries[0].part else [images, labels])
    return table.finish(len(entries), Format.IMAGES)


def _blocks(archive: zipfile.ZipFile, entries: Sequence[_Entry], shape: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Return all values, some MiB at a time: several images, or a piece of a large one."""
    at_once = max(1, BLOCK // math.prod(shape))
    for start in range(0, len(entries), at_once):
        images = [_pixels(archive, entry, shape).ravel() for entry in entries[start : start + at_once]]
        values = np.concatenate(images)
        yield from (values[place : place + BLOCK] for place in range(0, len(values), BLOCK))


def read(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int | None) -> Frame:
    """Read columns of a ZIP of images."""
    with unzipped(file, _ALLOWED) as archive:
        entries = _entries(archive)[:rows]
        return {column.name: _column(archive, entries, column) for column in wanted}


def batches(file: BinaryIO, columns: list[ColumnProfile], wanted: list[ColumnProfile], rows: int) -> Iterator[Frame]:
    """Yield columns of a ZIP of images, some at a time."""
    with unzipped(file, _ALLOWED) as archive:
        entries = _entries(archive)
        for start in range(0, len(entries), rows):
            yield {column.name: _column(archive, entries[start : start + rows], column) for column in wanted}


def _column(archive: zipfile.ZipFile, entries: Sequence[_Entry], column: ColumnProfile) -> Column:
    if column.type == "tensor":
        images = np.empty((len(entries), *(column.shape or ())), np.uint8)
        for place, entry in enumerate(entries):
            images[place] = _pixels(archive, entry, images.shape[1:])
        return Column("tensor", images)
    attribute: Literal["label", "part"] = "part" if column.name == "split" else "label"
    return text.column_of(pl.Series([getattr(entry, attribute) for entry in entries], dtype=pl.String), column)


READER = Reader(profile, read, batches)
