"""Tables: CSV, TSV, Parquet, JSON lines and data frames as columns whose kinds are known."""

from __future__ import annotations

import functools
import importlib.util
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.column_kinds import KINDS, Column, Kind, missing_column, read_column
from thalweg.data.dataset import Arrays, Source, checked_places
from thalweg.data.delimited import Delimited, check_unique, read_delimited
from thalweg.errors import ArgumentError, DataError, nearest, where

__all__ = ["MISSING", "Table", "read_table"]

Array = np.ndarray[Any, Any]

# What stands for a missing value in text; more can be given.
MISSING: Final = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A", "?")
_SUFFIXES: Final = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".data": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip


class Table(Source):
    """Columns of one length with names and kinds; row i of each is sample i. See ``read_table``.

    ``columns``: name to ``Column`` (its kind, the reason, its values). As a ``Dataset``, a table
    fetches one array for each column: numbers as float64 with NaN for missing, dates as
    datetime64[us], categories and text as objects (str or None). ``left_out``: columns of the
    source that were not asked for.

    Example:
        >>> table = read_table({"age": [31, 4], "name": ["Ann", "Bob"]})
        >>> table.kinds, len(table)
        ({'age': 'number', 'name': 'category'}, 2)
        >>> table.column("age").tolist()
        [31.0, 4.0]
    """

    in_memory = True

    def __init__(
        self, columns: Mapping[str, Column], describe: Callable[[int], str] | None = None,
        left_out: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.columns = dict(columns)
        if not self.columns:
            raise DataError(f"the table has no columns; give at least one. {where()}")
        self.names = tuple(self.columns)
        self.rows = len(next(iter(self.columns.values())).values)
        self.left_out = tuple(left_out)
        self._describe = describe or _row

    def __len__(self) -> int:
        return self.rows

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each column: number, category, date or text."""
        return {name: column.kind for name, column in self.columns.items()}

    @property
    def schema(self) -> dict[str, dict[str, str]]:
        """Kind of each column, and format of its dates: what ``read_table(like=...)`` takes."""
        return {
            name: {"kind": column.kind} | ({"format": column.date_format} if column.date_format
                                           else {})
            for name, column in self.columns.items()
        }  # fmt: skip

    @property
    def reasons(self) -> dict[str, str]:
        """Why each column is of its kind."""
        return {name: column.reason for name, column in self.columns.items()}

    def column(self, name: str) -> Array:
        """Return the values of one column (n,).

        Raises:
            DataError: there is no such column.
        """
        if name not in self.columns:
            raise DataError(
                f"there is no column {name!r}; {nearest(name, self.columns)}. {where()}"
            )
        return self.columns[name].values

    def fetch(self, rows: Array) -> Arrays:
        """Return these rows of each column."""
        return tuple(column.values[rows] for column in self.columns.values())

    def describe(self, row: int) -> str:
        """Say which line of the file, or which row of the frame, it is."""
        return self._describe(int(row))

    def take(self, rows: Any) -> Table:
        """Return a table of these rows only.

        Raises:
            DataError: a row that does not exist.
        """
        places = checked_places(np.asarray(rows), len(self))
        made = {n: replace(c, values=c.values[places]) for n, c in self.columns.items()}
        return Table(made, lambda row: self.describe(int(places[row])))

    def select(self, names: Iterable[str]) -> Table:
        """Return a table of these columns only, in this order.

        Raises:
            DataError: there is no such column.
        """
        chosen = list(names)
        for name in chosen:
            self.column(name)
        return Table({name: self.columns[name] for name in chosen}, self._describe)

    def without(self, *names: str) -> Table:
        """Return a table without these columns.

        Raises:
            DataError: there is no such column, or none is left.
        """
        for name in names:
            self.column(name)
        return self.select(name for name in self.columns if name not in names)

    def __repr__(self) -> str:
        lines = [f"  {n}: {c.kind} ({c.reason})" for n, c in self.columns.items()]
        return "\n".join([f"Table of {len(self):,} rows", *lines])


def read_table(
    source: Any,
    *,
    kinds: Mapping[str, Kind] | None = None,
    dates: Mapping[str, str] | None = None,
    like: Mapping[str, Mapping[str, str]] | None = None,
    only_like: bool = False,
    drop: Sequence[str] = (),
    missing: Sequence[str] = (),
    separator: str | None = None,
    encoding: str = "utf-8",
    header: bool | None = None,
    names: Sequence[str] | None = None,
) -> Table:
    r"""Return the table of a file or data frame, with the kind of each column.

    ``source``: a path of CSV or TSV (also ``.txt`` and ``.data``), Parquet or JSON lines; or a
    data frame of pandas, Polars or Arrow; or a dict of columns. ``kinds``: the kind of some
    columns, where the inferred one is wrong. ``dates``: the format of some dates, such as
    ``{"day": "%d.%m.%Y"}``. ``like``: the ``schema`` of an earlier table or of a fitted pipeline,
    whose columns are read as they were then, whatever these rows look like; those that are not
    there are passed over. ``only_like``: other columns are left out, whatever they hold, and named
    by the table's ``left_out``. ``drop``: columns to leave out. ``missing``: texts that stand for a
    missing value, besides ``MISSING``. For delimited text only: ``separator`` (found by itself),
    ``encoding``, ``header`` and ``names`` (give them where the file has no line of names).

    Needs Polars and Narwhals: ``pip install 'thalweg[tables]'``.

    Raises:
        DataError: a file that is missing, empty, ragged, of another encoding or damaged; duplicate
            names; a column that is all missing, or holds text among numbers or an infinite number:
            each with the line and column.
        ArgumentError: a kind or column that does not exist.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "people.csv"
        >>> _ = file.write_text("age,city,since\n31,Rome,2020-05-01\n4,,2024-01-31\n")
        >>> read_table(file).kinds
        {'age': 'number', 'city': 'category', 'since': 'date'}
    """
    _check_installed()
    kinds, dates = dict(kinds or {}), dict(dates or {})
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise ArgumentError(f"kinds[{name!r}] is {kind!r}; {nearest(kind, KINDS)}. {where()}")
    frame, untyped, told = _read(source, separator, encoding, header, names)
    return table_of_frame(frame, untyped, told, kinds, dates, like or {}, only_like, drop, missing)


def table_of_frame(
    frame: Any,
    untyped: set[str],
    told: Callable[[int], str],
    kinds: Mapping[str, Kind],
    dates: Mapping[str, str],
    like: Mapping[str, Mapping[str, str]],
    only_like: bool,
    drop: Sequence[str],
    missing: Sequence[str],
) -> Table:
    """Return the table of a Polars frame.

    ``untyped``: its columns that are text of any kind. ``told``: the place of a row. The others,
    and the errors, are those of ``read_table``.

    >>> import polars as pl
    >>> table_of_frame(pl.DataFrame({"a": ["1"]}), {"a"}, str, {}, {}, {}, False, (), ()).kinds
    {'a': 'number'}
    """
    kinds, dates = dict(kinds), dict(dates)
    left_out = [name for name in frame.columns if only_like and name not in like]
    if left_out and len(left_out) == frame.width:
        raise DataError(
            f"the table has no column but {', '.join(map(repr, left_out[:20]))}; wanted those of "
            f"the earlier table: {', '.join(like)}. {where()}"
        )
    frame = frame.drop(left_out)
    for who, chosen in (("drop", drop), ("kinds", kinds), ("dates", dates)):
        _check_known(who, chosen, frame.columns)
    for name, known in like.items():
        if name in frame.columns:
            kinds.setdefault(name, known["kind"])  # type: ignore[arg-type]
            if "format" in known and name in untyped and name not in dates:
                dates[name] = known["format"]
    frame = frame.drop(list(drop))
    if not frame.width or not frame.height:
        raise DataError(
            f"the table has {frame.width} columns and {frame.height} rows; give one with data. "
            f"{where()}"
        )
    columns = {}
    for series in _with_missing(frame, missing).get_columns():
        name, typed = series.name, series.name not in untyped
        if name in like and series.null_count() == len(series):
            columns[name] = missing_column(kinds[name], len(series))
            continue
        columns[name] = read_column(name, series, typed, kinds.get(name), dates.get(name), told)
    return Table(columns, told, left_out)


def _read(
    source: Any,
    separator: str | None,
    encoding: str,
    header: bool | None,
    names: Sequence[str] | None,
) -> tuple[Any, set[str], Callable[[int], str]]:
    """Return a Polars frame, its columns that are text of any kind, and the place of a row."""
    if not isinstance(source, (str, os.PathLike)):
        return *_of_frame(source), _row
    path = Path(source)
    form = format_of(path)
    if form == "csv":
        found = read_delimited(path, separator_of(path, separator), encoding, header, names)
        frame = frame_of_delimited(found)
        return frame, set(frame.columns), lambda row: f"{path}: line {int(found.lines[row])}"
    frame = frame_of_typed(path, form, path)
    if form == "jsonl":
        lines = functools.cache(lambda: filled_lines(path.read_bytes()))
        return frame, set(), lambda row: f"{path}: line {lines()[row]}"
    return frame, set(), lambda row: f"{path}: row {row}"


def _row(row: int) -> str:
    return f"row {row}"


def _check_installed() -> None:
    for package in ("polars", "narwhals"):
        if importlib.util.find_spec(package) is None:
            raise DataError(
                f"reading tables needs {package}, which is not installed: pip install "
                f"'thalweg[tables]'. {where()}"
            )


def _check_known(who: str, names: Iterable[str], columns: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            raise ArgumentError(
                f"read_table: {who} names the column {name!r}, which is not there; "
                f"{nearest(name, columns)}. {where()}"
            )


def format_of(path: Path) -> str:
    """Return ``"csv"``, ``"parquet"`` or ``"jsonl"``, by the ending of a file that is there.

    Raises:
        DataError: another ending, or a file that is missing or empty.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise DataError(
            f"{path}: the ending {suffix!r} is of no kind of table; "
            f"{nearest(suffix, _SUFFIXES)}. {where()}"
        )
    if not path.exists():
        raise DataError(f"the file {path} does not exist; check its path. {where()}")
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{path} is empty, it has no bytes; give another file. {where()}")
    return _SUFFIXES[suffix]


def separator_of(path: Path, given: str | None) -> str | None:
    r"""Return the separator that was given, else what the ending says, None where it says nothing.

    >>> separator_of(Path("a.tsv"), None), separator_of(Path("a.csv"), None)
    ('\t', None)
    """
    return "\t" if given is None and path.suffix.lower() in (".tsv", ".tab") else given


def frame_of_delimited(found: Delimited) -> Any:
    """Return a Polars frame of texts.

    Raises:
        DataError: quotes that are opened and not closed.
    """
    import polars as pl

    try:
        frame = pl.read_csv(
            io.BytesIO(found.text),
            separator=found.separator,
            has_header=found.header,
            new_columns=list(found.names),
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{found.path} is no table that Polars can read: {str(error).splitlines()[0][:200]}. "
            f"Check quotes (one that is opened and not closed can be the cause) and separators. "
            f"{where()}"
        ) from error
    if frame.height != len(found.kept):
        raise DataError(
            f"{found.path}: {frame.height:,} rows were read of {len(found.kept):,} that it seems "
            f"to have; a quote that is opened and not closed can be the cause. {where()}"
        )
    if not found.kept.all():
        frame = frame.filter(pl.Series(found.kept))  # Polars takes an empty line for a row
    return frame


def filled_lines(data: bytes) -> Array:
    r"""Return the numbers, from 1 on, of the lines of some bytes that are not empty.

    >>> filled_lines(b"{}\n\n{}\n").tolist()
    [1, 3]
    """
    return 1 + np.flatnonzero([bool(line.strip()) for line in data.split(b"\n")])


def frame_of_typed(source: Any, form: str, path: Path) -> Any:
    """Return a Polars frame of a file, or of its bytes: Parquet or JSON lines.

    Raises:
        DataError: it is damaged, or of another format.
    """
    import polars as pl

    try:
        if form == "parquet":
            return pl.read_parquet(source)
        return pl.read_ndjson(source, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        kind = "Parquet" if form == "parquet" else "JSON lines"
        raise DataError(
            f"{path} is no file of {kind} that can be read: {error}. It may be damaged, or of "
            f"another format. {where()}"
        ) from error


def _of_frame(source: Any) -> tuple[Any, set[str]]:
    """Return a Polars frame of a data frame, and its columns of Python objects."""
    import narwhals as nw
    import polars as pl

    if isinstance(source, Mapping):
        return _of_columns(source)
    if hasattr(source, "collect"):
        raise DataError(f"got a lazy frame; collect it before, with .collect(). {where()}")
    names = [str(name) for name in getattr(source, "column_names", getattr(source, "columns", []))]
    check_unique(names, "the data frame")
    try:
        frame = nw.from_native(source, eager_only=True)
    except TypeError as error:
        raise DataError(
            f"got {type(source).__name__}, wanted a path, a data frame of pandas, Polars or Arrow, "
            f"or a dict of columns. {where()}"
        ) from error
    made, untyped = {}, set()
    for name, given in zip(names, frame.columns, strict=True):
        series = frame[given]
        if series.dtype == nw.Object:
            made[name] = _of_objects(series.to_list())
            untyped.add(name)
        else:
            made[name] = series.to_polars()
    return pl.DataFrame({name: series.rename(name) for name, series in made.items()}), untyped


def _of_columns(source: Mapping[Any, Any]) -> tuple[Any, set[str]]:
    import polars as pl

    made: dict[str, Any] = {}
    untyped: set[str] = set()
    for key, values in source.items():
        name, column = str(key), np.asarray(values)
        if column.ndim != 1:
            raise DataError(
                f"column {name!r} has shape {column.shape}, wanted one value a row. {where()}"
            )
        if column.dtype.kind == "O":
            made[name] = _of_objects(column.tolist())
            untyped.add(name)
        else:
            made[name] = pl.Series(name, column)
    lengths = {name: len(series) for name, series in made.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the columns have several lengths: {lengths}. {where()}")
    return pl.DataFrame(made), untyped


def _of_objects(values: list[Any]) -> Any:
    """Return a series of text of Python objects; None and NaN are missing."""
    import polars as pl

    def word(value: Any) -> str | None:
        return None if value is None or value != value else str(value)

    return pl.Series([word(value) for value in values], dtype=pl.String)


def _with_missing(frame: Any, missing: Sequence[str]) -> Any:
    """Return a frame in which the words for a missing value are null, and so is NaN."""
    import polars as pl

    words = pl.col(pl.String).str.strip_chars().replace([*MISSING, *missing], None)
    return frame.with_columns(words, pl.col(pl.Float32, pl.Float64).fill_nan(None))
