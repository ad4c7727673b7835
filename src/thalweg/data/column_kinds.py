"""The kind of each column of a table: number, category, date or text, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from thalweg.data.date_formats import DATE_FORMATS, disagreeing, read_dates
from thalweg.errors import DataError, where

__all__ = ["Column", "Kind", "read_column"]

Array = np.ndarray[Any, Any]
Kind = Literal["number", "category", "date", "text"]
KINDS: Final = ("number", "category", "date", "text")

# From this share of numbers on, a column is one of numbers with faults, not one of words.
_MOSTLY: Final = 0.9
_FEW: Final = 20  # distinct values that a column of words may always have as a category
_WORDS: Final = 3.0  # words a value from which on a column of mostly distinct values is text
_CHARACTERS: Final = 40.0  # or characters, for languages without spaces


@dataclass(frozen=True, eq=False)
class Column:
    """One column: its kind, the reason for it, and its values.

    ``values``: (n,), float64 with NaN for a number that is missing; datetime64[us] with NaT for a
    date; objects, str or None, for a category or text. ``date_format``: how a date was written,
    where it was text.
    """

    kind: Kind
    reason: str
    values: Array
    date_format: str | None = None

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind


def read_column(
    name: str,
    series: Any,
    typed: bool,
    kind: Kind | None,
    date_format: str | None,
    describe: Callable[[int], str],
) -> Column:
    """Return a column of a Polars series.

    ``typed``: whether the source says of which type its values are (Parquet, a data frame);
    words that look like numbers then stay words. ``kind``, ``date_format``: what the user said.
    ``describe``: the place of a row, for errors.

    Raises:
        DataError: nothing but missing values, text in a column of numbers, an infinite number, or
            values that are not of the kind asked for.

    Example:
        >>> import polars
        >>> column = read_column("age", polars.Series(["31", None, "4"]), False, None, None, str)
        >>> column.kind, column.values.tolist()
        ('number', [31.0, nan, 4.0])
    """
    import polars as pl

    if date_format is not None and kind not in (None, "date"):
        raise DataError(
            f"column {name!r}: a date format is given, but its kind as {kind!r}. {where()}"
        )
    if series.null_count() == len(series):
        raise DataError(
            f"column {name!r}: all {len(series):,} values are missing; leave it out with "
            f"drop=[{name!r}], or fill it in. {where()}"
        )
    dtype = series.dtype
    if dtype == pl.Boolean:
        if kind == "number":
            return _number(name, series.cast(pl.Float64), "truth values as 0 and 1", describe)
        return Column("category", "truth values", _words(series.cast(pl.String)))
    if dtype.is_temporal() and dtype != pl.Duration and dtype != pl.Time:
        return _typed_date(name, series, kind)
    if dtype.is_numeric():
        return _typed_number(name, series, kind, describe)
    if dtype in (pl.Categorical, pl.Enum):
        made = _words(series.cast(pl.String))
        return Column(kind if kind == "text" else "category", "a categorical column", made)
    if dtype != pl.String:
        raise DataError(
            f"column {name!r} holds values of type {dtype}, wanted numbers, dates, truth values or "
            f"text; make columns of its parts, or leave it out with drop=[{name!r}]. {where()}"
        )
    return _of_strings(name, series, typed, kind, date_format, describe)


def missing_column(kind: Kind, rows: int) -> Column:
    """Return a column of a kind in which every value is missing.

    >>> missing_column("number", 2).values.tolist()
    [nan, nan]
    """
    made: Array
    if kind == "number":
        made = np.full(rows, np.nan)
    elif kind == "date":
        made = np.full(rows, np.datetime64("NaT"), "datetime64[us]")
    else:
        made = np.full(rows, None, object)
    return Column(kind, "as in the earlier table; all values are missing", made)


def _of_strings(
    name: str,
    series: Any,
    typed: bool,
    kind: Kind | None,
    date_format: str | None,
    describe: Callable[[int], str],
) -> Column:
    import polars as pl

    series = series.str.strip_chars()
    present = len(series) - series.null_count()
    if kind == "number" or (kind is None and date_format is None and not typed):
        numbers = series.cast(pl.Float64, strict=False)
        read = present - (numbers.null_count() - series.null_count())
        if kind == "number" or read >= _MOSTLY * present:
            _check_text(name, series, numbers, read, present, describe)
            missing = series.null_count()
            reason = f"all {present:,} values are numbers" + f", {missing:,} missing" * (
                missing > 0
            )
            return _number(name, numbers, reason, describe)
    if kind == "date" or date_format is not None or (kind is None and not typed):
        dates = _dates(
            name, series, date_format, kind == "date" or date_format is not None, describe
        )
        if isinstance(dates, Column):
            return dates
        if dates is not None and kind is None:
            return Column("text", dates, _words(series))
    values = _words(series)
    if kind in ("category", "text"):
        return Column(kind, "as you said", values)
    return Column(*_category_or_text(series, present), values)


def _check_text(
    name: str, series: Any, numbers: Any, read: int, present: int, describe: Callable[[int], str]
) -> None:
    """Raise if some values of a column of numbers are text."""
    if read == present:
        return
    wrong = (series.is_not_null() & numbers.is_null()).arg_true().to_list()
    value = series[wrong[0]]
    raise DataError(
        f"column {name!r}, {describe(wrong[0])}: {value!r} is no number, but {read:,} of "
        f"{present:,} values are ({len(wrong):,} are not). Mend it, give missing=[{value!r}, ...] "
        f'if it stands for a missing value, or kinds={{{name!r}: "category"}} if the column holds '
        f"words. {where()}"
    )


def _number(name: str, series: Any, reason: str, describe: Callable[[int], str]) -> Column:
    values = np.array(series.to_numpy(), np.float64)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(
            f"column {name!r}, {describe(int(infinite[0]))}: the number is {values[infinite[0]]}, "
            f"as are {len(infinite) - 1:,} others; training would spread it to every weight. Put a "
            f"finite number there, or leave it empty as missing. {where()}"
        )
    return Column("number", reason, values)


def _typed_number(
    name: str, series: Any, kind: Kind | None, describe: Callable[[int], str]
) -> Column:
    import polars as pl

    if kind in ("category", "text"):
        words = series.cast(pl.String)
        if series.dtype.is_float():  # 1.0 is the word "1": a frame with gaps makes floats
            whole = (series % 1 == 0) & (series.abs() < 2**63)
            words = words.zip_with(~whole, series.cast(pl.Int64, strict=False).cast(pl.String))
        return Column(kind, "as you said", _words(words))
    if kind == "date":
        raise DataError(
            f"column {name!r} holds numbers ({series.dtype}), not dates; make dates of them before "
            f"(pandas.to_datetime with its unit, for example). {where()}"
        )
    return _number(name, series.cast(pl.Float64), f"a column of type {series.dtype}", describe)


def _typed_date(name: str, series: Any, kind: Kind | None) -> Column:
    import polars as pl

    if kind not in (None, "date"):
        raise DataError(
            f"column {name!r} holds dates ({series.dtype}), not kind {kind!r}; make numbers or "
            f"text of them before. {where()}"
        )
    if getattr(series.dtype, "time_zone", None):
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    values = series.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
    return Column("date", f"a column of type {series.dtype}", values)


def _dates(
    name: str, series: Any, given: str | None, wanted: bool, describe: Callable[[int], str]
) -> Column | str | None:
    """Return a column of dates, or why it cannot be told how to read them, or None."""
    import polars as pl

    present = len(series) - series.null_count()
    formats = (given,) if given else DATE_FORMATS
    sample = series.drop_nulls().head(1000)
    if not wanted and not sample.str.contains(r"\d").all():
        return None
    fitting = []
    for form in formats:
        if not wanted and read_dates(sample, form, inferred=True).null_count():
            continue
        dates = read_dates(series, form, inferred=not wanted)
        if len(dates) - dates.null_count() == present:
            fitting.append((form, dates))
    several = disagreeing(fitting)
    if several:
        return (
            "dates whose day and month cannot be told apart; give "
            f'dates={{{name!r}: "{several[0]}"}} or "{several[1]}"'
        )
    if fitting:
        form, dates = fitting[0]
        values = dates.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
        return Column("date", f"all {present:,} values are dates like {form}", values, form)
    if wanted:
        best = max((read_dates(series, form) for form in formats), key=lambda d: -d.null_count())
        row = (series.is_not_null() & best.is_null()).arg_true().to_list()[0]
        raise DataError(
            f"column {name!r}, {describe(row)}: {series[row]!r} is no date"
            f"{f' like {given!r}' if given else ''}; mend it, or give the format, such as "
            f'dates={{{name!r}: "%d.%m.%Y"}}. {where()}'
        )
    return None


def _category_or_text(series: Any, present: int) -> tuple[Kind, str]:
    distinct = series.drop_nulls().n_unique()
    words = float(series.str.count_matches(r"\S+").mean() or 0)
    characters = float(series.str.len_chars().mean() or 0)
    told = f"{distinct:,} distinct values of {present:,}, {words:.1f} words each"
    long = words >= _WORDS or characters >= _CHARACTERS
    if distinct > _FEW and long and distinct > present / 10:
        return "text", told
    if distinct == present and distinct > _FEW:
        told += "; no value comes twice, so that nothing can be learned from it as a category"
    return "category", told


def _words(series: Any) -> Array:
    made = np.empty(len(series), object)
    made[:] = series.to_list()
    return made
