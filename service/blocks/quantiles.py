"""Exact quantiles of columns that need not fit into memory.

Few values are held and put in order. Of many, the value of a rank is found from its highest bits to its lowest: each
time the frames are gone over, the values that begin with the bits found so far are counted by their next ones. Either
way the value found is one of those that are there, so that the ways cannot differ.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.blocks.statistics import Floats, by_channel, pieces_of, statistics_of
from service.data.frame import Frames

HELD = 1 << 23
"""Values that are held at the same time."""
COUNTERS = 1 << 23
"""Counters that are held at the same time; the more, the more bits are found at one time."""
KEY_BITS = 64
MOST_BITS = 16
SIGN = np.uint64(1 << 63)

Keys = NDArray[np.uint64]
Place = tuple[str, int]
"""A column and one of its channels."""


@dataclass
class _Sought:
    """The value that stands at `rank` among those whose highest bits are `prefix`."""

    rank: int
    prefix: int = 0


def quantiles_of(frames: Frames, names: Sequence[str], levels: Sequence[float]) -> dict[str, Floats]:
    """Return the quantiles of every channel without missing values, [channels, levels], by the name of the column.

    Between two ranks they are interpolated.

    Raises:
        InvalidInput: A column has no values, or infinite ones.

    Reference: Hyndman and Fan 1996, "Sample Quantiles in Statistical Packages", definition 7.
    """
    counts = {name: known.count for name, known in statistics_of(frames, names).items()}
    places = [(name, channel) for name in names for channel in range(len(counts[name]))]
    positions = {place: [(int(counts[place[0]][place[1]]) - 1) * level for level in levels] for place in places}
    ranks = {place: sorted({r for at in found for r in _around(at)}) for place, found in positions.items()}
    few = sum(float(count.sum()) for count in counts.values()) <= HELD
    values = (_ordered if few else _counted)(frames, ranks)
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for place, wanted in positions.items():
        known = dict(zip(ranks[place], values[place], strict=True))
        found[place[0]].append([_between(known, at) for at in wanted])
    return {name: np.array(rows, np.float64) for name, rows in found.items()}


def _around(position: float) -> tuple[int, int]:
    return math.floor(position), math.ceil(position)


def _between(known: dict[int, float], position: float) -> float:
    low, high = (known[rank] for rank in _around(position))
    part = position - math.floor(position)
    return low * (1 - part) + high * part


def _pieces(frames: Frames, names: Sequence[str]) -> Iterator[tuple[Place, Floats]]:
    """Yield the values of every channel, some at a time, without missing ones; zeros have no sign."""
    for frame in frames if names else ():
        for name in names:
            values = by_channel(frame[name])
            for piece in pieces_of(values):
                numbers = values[piece].astype(np.float64) + 0.0
                for channel in range(numbers.shape[1]):
                    one = numbers[:, channel].ravel()
                    yield (name, channel), one[~np.isnan(one)]


def _ordered(frames: Frames, ranks: dict[Place, list[int]]) -> dict[Place, list[float]]:
    """Return the values at the ranks of each place, all of whose values are held."""
    held: dict[Place, list[Floats]] = {place: [] for place in ranks}
    for place, values in _pieces(frames, list(dict.fromkeys(name for name, _ in ranks))):
        held[place].append(values)
    return {place: np.sort(np.concatenate(held[place]))[wanted].tolist() for place, wanted in ranks.items()}


def _counted(frames: Frames, ranks: dict[Place, list[int]]) -> dict[Place, list[float]]:
    """Return the values at the ranks of each place, none of which is held."""
    sought = {place: [_Sought(rank) for rank in wanted] for place, wanted in ranks.items()}
    most = COUNTERS // max(1, sum(len(wanted) for wanted in ranks.values()))
    bits, left = max(1, min(MOST_BITS, most.bit_length() - 1)), KEY_BITS
    while left:
        digits = min(bits, left)
        left -= digits
        _narrow(frames, sought, left, digits)
    return {place: [_number(one.prefix) for one in wanted] for place, wanted in sought.items()}


def _narrow(frames: Frames, sought: dict[Place, list[_Sought]], shift: int, bits: int) -> None:
    """Find the next `bits` of every value, behind which `shift` are left."""
    counts = {(place, one.prefix): np.zeros(1 << bits, np.int64) for place, wanted in sought.items() for one in wanted}
    prefixes = {place: sorted({one.prefix for one in wanted}) for place, wanted in sought.items()}
    for place, values in _pieces(frames, list(dict.fromkeys(name for name, _ in sought))):
        heads = _keys(values) >> np.uint64(shift)
        for prefix in prefixes[place]:
            first = np.uint64(prefix << bits)
            digits = (heads - first)[(heads >= first) & (heads - first < np.uint64(1 << bits))]
            counts[place, prefix] += np.bincount(digits.astype(np.int64), minlength=1 << bits)
    for place, wanted in sought.items():
        for one in wanted:
            up_to = np.cumsum(counts[place, one.prefix])
            digit = int(np.searchsorted(up_to, one.rank, side="right"))
            one.rank -= int(up_to[digit - 1]) if digit else 0
            one.prefix = one.prefix << bits | digit


def _keys(values: Floats) -> Keys:
    """Return whole numbers that have the order of the values."""
    bits = values.view(np.uint64)
    return np.where(bits >= SIGN, ~bits, bits | SIGN)


def _number(key: int) -> float:
    bits = np.uint64(key)
    return float((bits ^ SIGN if bits >= SIGN else ~bits).view(np.float64))
