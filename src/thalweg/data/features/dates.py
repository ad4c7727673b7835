"""Dates: read in one format, then turned into cycles, a year and the time that has gone by."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thalweg.data.date_formats import DATE_FORMATS, disagreeing, read_date
from thalweg.data.features.numbers import mean_and_deviation
from thalweg.data.features.transformer import (
    Transformer,
    Values,
    check_flat,
    checked_choice,
    is_missing,
)
from thalweg.errors import DataError, where

__all__ = ["DateParts", "parse_dates"]

Array = np.ndarray[Any, Any]
_SAMPLE: Final = 100  # words by which formats are sorted out
PARTS: Final = ("year", "month", "day", "weekday", "hour", "elapsed")


def parse_dates(column: Values, date_format: str | None = None) -> tuple[Array, str]:
    """Return the dates of a column as datetime64[us] (n,), NaT where missing, and their format.

    ``date_format``: as for ``strptime``; left out, the one of ``DATE_FORMATS`` that fits every
    row. Times with a zone become those of UTC.

    Raises:
        DataError: no format fits every row, or day and month cannot be told apart; the first row
            at fault is named.

    Example:
        >>> dates, found = parse_dates(Values("day", np.array(["31.12.2024"], object)))
        >>> str(dates[0]), found
        ('2024-12-31T00:00:00.000000', '%d.%m.%Y')
    """
    check_flat(column)
    if column.values.dtype.kind == "M":
        return column.values.astype("datetime64[us]"), "datetime"
    missing = is_missing(column.values)
    known = {str(v) for v, gone in zip(column.values, missing, strict=True) if not gone}
    formats = DATE_FORMATS if date_format is None else (date_format,)
    few = sorted(known)[:_SAMPLE]
    likely = [form for form in formats if all(read_date(word, form) is not None for word in few)]
    reads = {form: {word: read_date(word, form) for word in known} for form in likely or formats}
    fitting = [form for form, found in reads.items() if None not in found.values()]
    if not fitting:
        best = max(reads, key=lambda form: sum(d is not None for d in reads[form].values()))
        wrong = np.array(
            [not m and reads[best][str(v)] is None
             for v, m in zip(column.values, missing, strict=True)], bool,
        )  # fmt: skip
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"column {column.name!r}: {column.values[row]!r} in {column.place(row)} is no date "
            f"like {best}, as {int((~wrong & ~missing).sum()):,} other rows are "
            f"({int(wrong.sum()):,} are not); bring all to one format. {where()}"
        )
    several = disagreeing([(form, np.array(list(reads[form].values()))) for form in fitting])
    if several:
        raise DataError(
            f"column {column.name!r}: day and month cannot be told apart in any row, such as "
            f'{min(known)!r}; give date_format="{several[0]}" or "{several[1]}". {where()}'
        )
    found = reads[fitting[0]]
    made = [None if m else found[str(v)] for v, m in zip(column.values, missing, strict=True)]
    return np.array(made, "datetime64[us]"), fitting[0]


class DateParts(Transformer):
    """Month, day, weekday and hour as sine and cosine; year and time gone by, standardised.

    ``parts``: which of year, month, day, weekday, hour and elapsed. ``date_format``: as for
    ``parse_dates``; the one found in ``fit`` is used ever after. A missing date is 0 everywhere,
    which no sine and cosine of a date are.

    Shapes: (n,) to (n, features) float32: two for a cycle, one for year and elapsed.

    Raises:
        ArgumentError: a part that does not exist.
        DataError: as for ``parse_dates``, or all training dates are missing.

    Example:
        >>> made = DateParts(parts=("hour",)).fit(["2024-01-01 06:00", "2024-01-01 18:00"])
        >>> made.transform(["2024-05-09 06:00"]).round(3).tolist()
        [[1.0, 0.0]]
    """

    kinds = ("date",)

    def __init__(self, *, parts: Any = PARTS, date_format: str | None = None) -> None:
        for part in parts:
            checked_choice("parts", part, PARTS)
        super().__init__(parts=list(parts), date_format=date_format)

    def feature_names(self, name: str) -> list[str]:
        """Return the names of the parts."""
        made: list[str] = []
        for part in self.settings["parts"]:
            ends = ("",) if part in ("year", "elapsed") else (" sine", " cosine")
            made += [f"{name} {part}{end}" for end in ends]
        return made

    def _learn(self, column: Values) -> None:
        dates, self.facts["format"] = parse_dates(column, self.settings["date_format"])
        present = dates[~np.isnat(dates)]
        if not len(present):
            raise DataError(f"column {column.name!r}: all dates are missing; drop it. {where()}")
        for part in ("year", "elapsed"):
            self.arrays[part] = np.array(mean_and_deviation(_numbers(present)[part]))

    def _apply(self, column: Values) -> Array:
        form = self.facts["format"]
        dates, _ = parse_dates(column, None if form == "datetime" else form)
        missing = np.isnat(dates)
        found = _numbers(np.where(missing, np.datetime64(0, "us"), dates))
        made: list[Array] = []
        for part in self.settings["parts"]:
            if part in ("year", "elapsed"):
                mean, deviation = self.arrays[part]
                made.append((found[part] - mean) / deviation)
            else:
                angle = 2 * np.pi * found[part]
                made += [np.sin(angle), np.cos(angle)]
        stacked = np.stack(made, axis=1)
        stacked[missing] = 0
        return stacked


def _numbers(dates: Array) -> dict[str, Array]:
    """Return year, days gone by since 1970, and each cycle as a share from 0 to 1."""
    days, months = dates.astype("datetime64[D]"), dates.astype("datetime64[M]")
    length = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")
    day = (days - months.astype("datetime64[D]")) / length
    clock = (dates - days) / np.timedelta64(1, "D")
    return {
        "year": dates.astype("datetime64[Y]").astype(np.int64) + 1970.0,
        "month": (months.astype(np.int64) % 12) / 12.0,
        "day": day,
        "weekday": ((days.astype(np.int64) + 3) % 7) / 7.0,  # 1970 began on a Thursday
        "hour": clock,
        "elapsed": dates.astype(np.int64) / 86_400e6,
    }
