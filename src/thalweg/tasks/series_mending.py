"""From the rows of a table to time series in order, without gaps; all that was mended is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from thalweg.data.tables import Table
from thalweg.tasks.series_frequency import Frequency

__all__ = ["Piece", "mend", "presence"]

Array = np.ndarray[Any, Any]
_FEW: Final = 5  # missing steps that are filled whatever the frequency


@dataclass(frozen=True)
class Piece:
    """A stretch of one series without gaps.

    ``series``: its name, empty if there is only one. ``first``: the step of its first row.
    ``values``: (time, columns), none missing.
    """

    series: str
    first: int
    values: Array

    def __len__(self) -> int:
        return len(self.values)


@dataclass
class _Count:
    """How often something was met, and where first."""

    count: int = 0
    place: str = ""
    whole: int = 0  # runs of it

    def add(self, count: int, place: Callable[[], str]) -> None:
        if count and not self.count:
            self.place = place()
        self.count += count
        self.whole += bool(count)


@dataclass
class _Found:
    """What is odd about the rows, in the order in which it is told."""

    undated: _Count = field(default_factory=_Count)
    unordered: _Count = field(default_factory=_Count)
    aside: _Count = field(default_factory=_Count)
    double: _Count = field(default_factory=_Count)
    gaps: _Count = field(default_factory=_Count)
    missing: _Count = field(default_factory=_Count)
    cuts: _Count = field(default_factory=_Count)
    ends: _Count = field(default_factory=_Count)

    def notes(self, limit: int) -> list[str]:
        told = {
            "rows without a date or series, left out: {0.count:,} (first: {0.place})": self.undated,
            "rows out of order in time, now sorted: {0.count:,} (first: {0.place})": self.unordered,
            "dates between steps, taken as the nearest: {0.count:,} (first: {0.place})": self.aside,
            "rows with the date of another, averaged: {0.count:,} (first: {0.place})": self.double,
            "missing steps, interpolated: {0.count:,}; gaps: {0.whole:,} (first: after {0.place})":
                self.gaps,
            "missing values, interpolated: {0.count:,} (first: {0.place})": self.missing,
            f"gaps longer than {limit} steps, which cut the series so that no window crosses them: "
            "{0.count:,} (first: after {0.place})": self.cuts,
            "steps without values at the beginning or end, left out: {0.count:,} (first: "
            "{0.place})": self.ends,
        }  # fmt: skip
        return [text.format(what) for text, what in told.items() if what.count]


def mend(
    table: Table, columns: Sequence[str], frequency: Frequency, time: str | None,
    group: str | None, date_format: str | None = None,
) -> tuple[list[Piece], list[str]]:  # fmt: skip
    """Return the pieces of all series, in order, and sentences on all that was mended.

    Rows are sorted; those of one date are averaged; missing steps and values are interpolated in a
    straight line over up to a day or 5 steps, whatever is more. Longer gaps cut a series.

    ``columns``: names of the numbers. ``time``, ``group``: columns of dates and of the names of
    series, None if there are none.

    Example:
        >>> from thalweg.data.tables import read_table
        >>> table = read_table({"day": [1.0, 3.0, 2.0, 5.0], "x": [1.0, 3.0, 2.0, 5.0]})
        >>> pieces, notes = mend(table, ["x"], Frequency("numbers", 1, 1), "day", None)
        >>> pieces[0].values.ravel().tolist(), len(notes)
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2)
    """
    found = _Found()
    limit = max(_FEW, int(frequency.per_day))
    told = _Telling(frequency, date_format)
    pieces: list[Piece] = []
    for name, rows in _series(table, time, group, found):
        steps = _steps(table, rows, frequency, time, found)
        order = np.argsort(steps, kind="stable")
        values = np.stack([table.column(c)[rows[order]] for c in columns], axis=1)
        known, values = _averaged(steps[order], values, found, table.take(rows[order]).describe)
        for first, dense in _grids(known, values, limit, told, found):
            filled = _filled(dense, columns, limit, first, told, found)
            pieces += [
                Piece(name, first + start, filled[start:stop])
                for start, stop in _complete(filled, first, told, found)
            ]
    return pieces, found.notes(limit)


def presence(table: Table, column: str) -> float:
    """Return the share of rows in which a column of numbers has a value."""
    return float((~np.isnan(table.column(column))).mean())


@dataclass(frozen=True)
class _Telling:
    frequency: Frequency
    date_format: str | None

    def __call__(self, step: int) -> str:
        if self.frequency.kind == "rows":
            return f"row {step}"
        return str(self.frequency.told(np.array([step]), self.date_format)[0])

    def column(self, name: str, step: int) -> str:
        return f"{name!r} at {self(step)}"


def _series(
    table: Table, time: str | None, group: str | None, found: _Found
) -> Iterator[tuple[str, Array]]:
    """Yield each series: its name, and its rows as they stand in the table."""
    there = np.ones(len(table), bool)
    if time is not None:
        times = table.column(time)
        there &= ~(np.isnat(times) if times.dtype.kind == "M" else np.isnan(times))
    if group is not None:
        values = table.column(group)
        there &= np.array([v is not None and v == v for v in values], bool)
    absent = np.flatnonzero(~there)
    found.undated.add(len(absent), lambda: table.describe(int(absent[0])))
    rows = np.flatnonzero(there)
    if group is None:
        yield "", rows
        return
    names = series_names(table.column(group)[rows])
    for name in dict.fromkeys(names.tolist()):
        yield str(name), rows[names == name]


def series_names(values: Array) -> Array:
    """Return the names of series as words; 1.0 is "1", as it was written.

    >>> series_names(np.array([1.0, 2.5])).tolist()
    ['1', '2.5']
    """
    words = [f"{v:.15g}" if isinstance(v, float) else str(v) for v in values.tolist()]
    return np.array(words, dtype=object)


def _steps(
    table: Table, rows: Array, frequency: Frequency, time: str | None, found: _Found
) -> Array:
    if time is None:
        return np.arange(len(rows))
    times = table.column(time)[rows]
    back = np.flatnonzero(times[1:] < times[:-1]) + 1
    found.unordered.add(len(back), lambda: table.describe(int(rows[back[0]])))
    steps = frequency.steps(times)
    if frequency.kind in ("time", "numbers"):
        apart = (times - frequency.times(steps)) if frequency.kind == "numbers" else (
            (times - frequency.times(steps)).astype(np.int64))  # fmt: skip
        aside = np.flatnonzero(np.abs(apart) > 0.25 * frequency.step)
        found.aside.add(len(aside), lambda: table.describe(int(rows[aside[0]])))
    return steps


def _averaged(
    steps: Array, values: Array, found: _Found, place: Callable[[int], str]
) -> tuple[Array, Array]:
    """Return each step once, with the mean of what is there of its rows."""
    known, first, count = np.unique(steps, return_index=True, return_counts=True)
    if len(known) == len(steps):
        return steps, values
    found.double.add(len(steps) - len(known), lambda: place(int(first[(count > 1).argmax()]) + 1))
    there = ~np.isnan(values)
    total = np.add.reduceat(np.where(there, values, 0), first, axis=0)
    parts = np.add.reduceat(there.astype(np.int64), first, axis=0)
    return known, np.where(parts > 0, total / np.maximum(parts, 1), np.nan)


def _grids(
    steps: Array, values: Array, limit: int, told: _Telling, found: _Found
) -> Iterator[tuple[int, Array]]:
    """Yield stretches with a row for each step, cut at long gaps; short gaps are NaN."""
    if not len(steps):
        return
    apart = np.diff(steps)
    cuts = np.flatnonzero(apart > limit + 1) + 1
    found.cuts.add(len(cuts), lambda: told(int(steps[cuts[0] - 1])))
    for part in np.split(np.arange(len(steps)), cuts):
        own = steps[part]
        dense = np.full((int(own[-1] - own[0]) + 1, values.shape[1]), np.nan)
        dense[own - own[0]] = values[part]
        holes = np.flatnonzero(np.diff(own) > 1)
        if len(holes):
            found.gaps.add(len(dense) - len(own), partial(told, int(own[holes[0]])))
            found.gaps.whole += len(holes) - 1
        # A step that is not there is no missing value: it is told already.
        dense[np.isin(np.arange(len(dense)), own - own[0], invert=True)] = np.inf
        yield int(own[0]), dense


def _filled(
    dense: Array, columns: Sequence[str], limit: int, first: int, told: _Telling, found: _Found
) -> Array:
    """Return a stretch with short runs of missing values interpolated; long ones stay NaN."""
    absent = np.isinf(dense)
    dense = np.where(absent, np.nan, dense)
    rows = np.arange(len(dense))
    for place, name in enumerate(columns):
        column = dense[:, place]
        gone = np.isnan(column)
        if not gone.any() or gone.all():
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[False], gone, [False]]).astype(np.int8)))
        column[gone] = np.interp(rows[gone], rows[~gone], column[~gone])
        for start, stop in edges.reshape(-1, 2):
            if stop - start > limit or start == 0 or stop == len(column):
                column[start:stop] = np.nan
                continue
            own = int((~absent[start:stop, place]).sum())
            found.missing.add(own, partial(told.column, name, first + int(start)))
    return dense


def _complete(
    filled: Array, first: int, told: _Telling, found: _Found
) -> list[tuple[int, int]]:
    """Return where the stretches begin and end in which no value is missing."""
    whole = ~np.isnan(filled).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(np.int8)))
    parts = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    if parts:
        before, after = parts[0][0], len(filled) - parts[-1][1]
        found.ends.add(before + after, lambda: told(first + (0 if before else parts[-1][1])))
    if len(parts) > 1:
        found.cuts.add(len(parts) - 1, lambda: told(first + parts[0][1] - 1))
    return parts
