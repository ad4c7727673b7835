"""Which column of a table is the time of a series, which are forecast, and which are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from thalweg.data.column_kinds import read_column
from thalweg.data.tables import Table
from thalweg.errors import DataError, nearest, where
from thalweg.tasks.series_frequency import Frequency, find_frequency
from thalweg.tasks.series_mending import presence, series_names

__all__ = ["Layout", "find_layout"]

Array = np.ndarray[Any, Any]
_SPARSE: Final = 0.5  # share of rows without a value from which on a column is left out
_LIKE_DATE: Final = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
_MOSTLY: Final = 0.9  # share of dates from which on a column is one of dates with faults
_SEVERAL: Final = 0.4  # share of rows with the date of another one that tells of several series


@dataclass(frozen=True)
class Layout:
    """The columns of a series: ``columns`` are read, the first of them are the ``targets``.

    ``time``, ``group``: None if there is none. ``schema``: how a table is read again.

    Example:
        >>> Layout(("x",), ("x",)).time is None
        True
    """

    columns: tuple[str, ...]
    targets: tuple[str, ...]
    time: str | None = None
    group: str | None = None
    date_format: str | None = None
    schema: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Layout:
        """Return the layout of what ``dataclasses.asdict`` gave."""
        return cls(**{**facts, "columns": tuple(facts["columns"]),
                      "targets": tuple(facts["targets"])})  # fmt: skip


def find_layout(
    table: Table, settings: Any, source: str
) -> tuple[Layout, Frequency, list[str], list[str]]:
    """Return layout and frequency of a table, and what is to tell: reasons, and notes.

    Raises:
        DataError: a column that was named does not exist or holds no numbers, there are no
            numbers, dates are all the same, or several series seem to be in one table.

    Example:
        >>> from thalweg.data.tables import read_table
        >>> from thalweg.tasks.settings import Settings
        >>> table = read_table({"year": [1990, 1991, 1992], "price": [3.0, 2.5, 2.7]})
        >>> layout, frequency, _, _ = find_layout(table, Settings(), "prices.csv")
        >>> layout.time, layout.targets, frequency.words
        ('year', ('price',), 'every 1')
    """
    named = (*settings.target, *filter(None, (settings.group, settings.time)))
    for name in named:
        if name not in table.columns:
            raise DataError(
                f"{source} has no column {name!r}; {nearest(name, table.names)}. {where()}"
            )
    notes: list[str] = []
    time, reason = _time_column(table, settings, notes)
    reasons = [reason]
    targets, others = _numbers(table, settings, time, source, reasons, notes)
    frequency = Frequency()
    if time is not None:
        frequency = _frequency(table, time, settings.group, source)
        reasons.append(f"the frequency: {frequency.words}")
        if settings.group is None:
            _check_several(table, time, source)
    used = {time, settings.group, *targets, *others} - {None}
    layout = Layout(
        (*targets, *others), targets, time, settings.group,
        None if time is None else table.columns[time].date_format,
        {name: told for name, told in table.schema.items() if name in used},
    )  # fmt: skip
    return layout, frequency, reasons, notes


def _time_column(table: Table, settings: Any, notes: list[str]) -> tuple[str | None, str]:
    """Return the column of dates, or of numbers that count the steps, and why it is."""
    used = {*settings.target, settings.group}
    _check_dates(table, settings.time, used)
    if settings.time is not None:
        if table.kinds[settings.time] not in ("date", "number"):
            column = table.columns[settings.time]
            raise DataError(
                f"the column {settings.time!r} holds no dates ({column.reason}); bring them to one "
                f"format, such as 2026-01-31 or 2026-01-31 12:00. {where()}"
            )
        return settings.time, f"{settings.time!r} tells the time, as you said"
    dates = [n for n, kind in table.kinds.items() if kind == "date" and n not in used]
    if len(dates) > 1:
        notes.append(
            f"the column {dates[0]!r} is taken for the time; {', '.join(map(repr, dates[1:]))} "
            "hold dates too (choose with --order-by)"
        )
    if dates:
        return dates[0], f"{dates[0]!r} tells the time: {table.columns[dates[0]].reason}"
    numbers = [n for n, kind in table.kinds.items() if kind == "number" and n not in used]
    # A column that only counts is the time if there is another to forecast.
    for name in numbers if settings.target or len(numbers) > 1 else ():
        values = table.column(name)
        apart = np.diff(values)
        if len(apart) >= 2 and apart[0] > 0 and (apart == apart[0]).all() and apart[0] % 1 == 0:
            return name, f"{name!r} tells the time: it grows by {apart[0]:g} in every row"
    return None, "no column tells the time: the rows are taken in their order"


def _check_dates(table: Table, time: str | None, used: set[Any]) -> None:
    """Raise if a column holds dates but for a few words, or dates that can be read in two ways."""
    import polars as pl

    for name, column in table.columns.items():
        if column.kind not in ("category", "text") or name in used:
            continue
        words = [v for v in column.values if v is not None]
        like = sum(_LIKE_DATE.match(v) is not None for v in words)
        if name != time and like < _MOSTLY * len(words):
            continue
        if "day and month" in column.reason or not like:
            raise DataError(
                f"the column {name!r} holds no dates that can be read ({column.reason}); bring "
                f"them to one format, such as 2026-01-31 or 2026-01-31 12:00. {where()}"
            )
        # Raises, and names the first row at fault.
        read_column(name, pl.Series(column.values.tolist(), dtype=pl.String), False, "date", None,
                    table.describe)  # fmt: skip


def _numbers(
    table: Table, settings: Any, time: str | None, source: str, reasons: list[str],
    notes: list[str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    """Return the columns to forecast, and those that are only read."""
    numbers = [n for n, kind in table.kinds.items()
               if kind == "number" and n not in (time, settings.group)]  # fmt: skip
    for name in settings.target:
        if name not in numbers:
            column = table.columns[name]
            raise DataError(
                f"the target {name!r} holds no numbers to forecast ({column.kind}: "
                f"{column.reason}); name columns of numbers. {where()}"
            )
    sparse = [n for n in numbers
              if n not in settings.target and presence(table, n) < 1 - _SPARSE]  # fmt: skip
    if sparse:
        notes.append(f"left out, as they are missing in most rows: {', '.join(sparse)}")
    kept = [n for n in numbers if n not in sparse]
    if not kept:
        raise DataError(
            f"{source} has no column of numbers to forecast, but "
            f"{', '.join(f'{n} ({k})' for n, k in table.kinds.items())}. {where()}"
        )
    targets = tuple(settings.target) or tuple(kept)
    others = tuple(n for n in kept if n not in targets)
    if not settings.target:
        reasons.append(f"forecast are all columns of numbers: {', '.join(targets)}")
    if others:
        reasons.append(f"read besides: {', '.join(others)}")
    words = [n for n, kind in table.kinds.items()
             if kind in ("category", "text") and n != settings.group]  # fmt: skip
    if words:
        reasons.append(f"not used, as they hold words: {', '.join(words)}")
    return targets, others


def _frequency(table: Table, time: str, group: str | None, source: str) -> Frequency:
    times = table.column(time)
    there = ~(np.isnat(times) if times.dtype.kind == "M" else np.isnan(times))
    if group is not None:
        names = series_names(table.column(group))
        known, counts = np.unique(names[there].astype(str), return_counts=True)
        there &= names.astype(str) == known[counts.argmax()]
    if len(np.unique(times[there])) < 2:
        raise DataError(
            f"{source}: the column {time!r} has fewer than two different dates; wanted one for "
            f"each step. {where()}"
        )
    return find_frequency(times[there])


def _check_several(table: Table, time: str, source: str) -> None:
    """Raise if each date comes several times, and another column tells these rows apart."""
    times = table.column(time)
    distinct = len(np.unique(times))
    if len(times) - distinct <= _SEVERAL * len(times):
        return
    _, place = np.unique(times, return_inverse=True)
    for name, column in table.columns.items():
        if name == time or (column.kind == "number" and (column.values % 1 != 0).any()):
            continue
        _, own = np.unique(series_names(column.values).astype(str), return_inverse=True)
        if own.max() + 1 < len(times) / 2 and len(np.unique(place * (own.max() + 1) + own)) >= (
            0.99 * len(times)
        ):
            raise DataError(
                f"{source}: each date comes {len(times) / distinct:.3g} times; the column {name!r} "
                f"seems to tell several series apart. Say so with --group {name}, or keep the rows "
                f"of one series. {where()}"
            )
