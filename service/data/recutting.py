"""Frames of one size, whatever size they come in."""

from collections.abc import Iterator

from service.data.frame import Column, Frame, rows_of
from service.data.text import joined


def recut(frames: Iterator[Frame], rows: int, skip: int = 0) -> Iterator[Frame]:
    """Yield the rows behind the first `skip` in frames of exactly `rows`, the last one of those that are left."""
    held: list[Frame] = []
    for frame in frames:
        dropped = min(skip, rows_of(frame))
        skip -= dropped
        held.append(_part(frame, dropped, None))
        while sum(map(rows_of, held)) >= rows:
            whole = _below(held)
            yield _part(whole, 0, rows)
            held = [_part(whole, rows, None)]
    rest = _below(held) if held else {}
    if rows_of(rest):
        yield rest


def _below(frames: list[Frame]) -> Frame:
    """Return frames of the same columns one below the other."""
    if len(frames) == 1:
        return frames[0]
    return {name: joined([frame[name] for frame in frames]) for name in frames[0]}


def _part(frame: Frame, start: int, end: int | None) -> Frame:
    return {name: Column(c.kind, c.values[start:end], c.indicator) for name, c in frame.items()}
