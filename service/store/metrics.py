"""Measured values: recorded in bulk, cut back on resume, thinned out in SQL for whoever draws them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, TableClause, delete, func, or_, select
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from service.store.metric_tables import Metric
from service.store.upserts import Upsert, insert_of

ALL = -1
"""Stands in the place of the number of a replica."""
KEY = [column.name for column in Metric.__table__.primary_key]


@dataclass(frozen=True)
class Point:
    """One measured value; what is not finite is stored as null."""

    name: str
    split: str
    epoch: int
    step: int
    value: float | None
    replica: int = ALL
    """Number of the job, of several that train together; `ALL`: of one alone, or the mean of several."""
    low: float | None = None
    """The least of the values that `value` is the mean of."""
    high: float | None = None
    """The largest of them."""


def record(session: Session, job_id: str, points: Iterable[Point]) -> None:
    """Store values; of two for the same name, split and step the later one counts.

    The caller owns the job in this transaction (`jobs.own` or `jobs.renew`).
    """
    latest = {(point.replica, point.split, point.name, point.step): point for point in points}
    rows = [
        {
            "job": job_id, "replica": p.replica, "split": p.split, "name": p.name, "step": p.step, "epoch": p.epoch,
            "value": _finite(p.value), "low": _finite(p.low), "high": _finite(p.high),
        }
        for p in latest.values()
    ]  # fmt: skip
    if rows:
        session.connection().execute(_upsert(session.get_bind().dialect.name), rows)


@cache
def _upsert(dialect: str) -> Upsert:
    # One row, for as many as there are: written for hundreds it would be compiled anew each time, which takes longer
    # than what training does meanwhile in small networks.
    fresh = insert_of(dialect, cast(TableClause, Metric.__table__))
    replaced = {name: fresh.excluded[name] for name in ("epoch", "value", "low", "high")}
    return fresh.on_conflict_do_update(index_elements=KEY, set_=replaced)


def delete_after(session: Session, job_id: str, step: int) -> None:
    """Delete what was measured after a step: a run that goes on from there measures it again."""
    gone = delete(Metric).where(Metric.job == job_id, Metric.step > step)
    session.execute(gone, execution_options={"synchronize_session": False})


def query(
    session: Session,
    job_id: str,
    *,
    name: str | None = None,
    split: str | None = None,
    since: int | None = None,
    max_points: int | None = None,
    replica: int = ALL,
) -> Sequence[Metric]:
    """Return the values of a job ordered by step; those after step `since`, at most `max_points` a series.

    Of several that train together those of one `replica`, or their means.

    A series is a name and a split. Thinned out, it keeps its first and last value and, of each of equally long
    stretches between, the lowest and the highest: a spike stays in the picture.
    """
    wanted = select(Metric).where(Metric.job == job_id, Metric.replica == replica, *_filters(name, split, since))
    if max_points is None:
        return session.scalars(wanted.order_by(Metric.step, Metric.split, Metric.name)).all()
    ranked = _ranked(wanted, max_points).subquery()
    kept = aliased(Metric, ranked)
    thinned = select(kept).where(_stays(ranked.c, max_points))
    return session.scalars(thinned.order_by(kept.step, kept.split, kept.name)).all()


def names(session: Session, job_id: str) -> Sequence[tuple[str, str]]:
    """Return the (name, split) of every series of a job."""
    pairs = select(Metric.name, Metric.split).where(Metric.job == job_id).distinct()
    return session.execute(pairs.order_by(Metric.name, Metric.split)).tuples().all()


def _filters(name: str | None, split: str | None, since: int | None) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if name is not None:
        filters.append(Metric.name == name)
    if split is not None:
        filters.append(Metric.split == split)
    if since is not None:
        filters.append(Metric.step > since)
    return filters


def _ranked(wanted: Select[tuple[Metric]], most: int) -> Select[Any]:
    """Number the values of each series, and rank those of each stretch of it from below and from above."""
    series = (Metric.split, Metric.name)
    place = func.row_number().over(partition_by=series, order_by=Metric.step).label("place")
    count = func.count().over(partition_by=series).label("count")
    placed = wanted.add_columns(place, count).subquery()
    stretch = (placed.c.place - 1) * max(1, (most - 2) // 2) // placed.c.count
    stretches = (placed.c.split, placed.c.name, stretch)
    value, step = placed.c.value, placed.c.step
    lowest = func.row_number().over(partition_by=stretches, order_by=(value.asc().nulls_last(), step))
    highest = func.row_number().over(partition_by=stretches, order_by=(value.desc().nulls_last(), step))
    return select(placed, lowest.label("lowest"), highest.label("highest"))


def _stays(ranked: ReadOnlyColumnCollection[str, Any], most: int) -> ColumnElement[bool]:
    stays = [ranked["count"] <= most, ranked["place"] == ranked["count"]]
    if most >= 2:
        stays.append(ranked["place"] == 1)
    if most >= 4:
        stays += [ranked["lowest"] == 1, ranked["highest"] == 1]
    return or_(*stays)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
