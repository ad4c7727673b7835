"""How a table is read: what the settings say, for the kinds of files that have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from thalweg.data.tables import Table, read_table
from thalweg.errors import ArgumentError, DataError
from thalweg.tasks.settings import Settings

__all__ = ["SUFFIXES", "TYPED", "is_typed", "read", "read_training"]

TYPED: Final = (".parquet", ".pq", ".jsonl", ".ndjson")  # no header, separator or encoding
SUFFIXES: Final = (".csv", ".tsv", ".tab", ".data", *TYPED)


def is_typed(source: Any) -> bool:
    """Return whether a source says of which type its values are: a frame, Parquet, JSON lines.

    >>> is_typed("a.csv"), is_typed("a.parquet"), is_typed({"a": [1]})
    (False, True, True)
    """
    return not isinstance(source, (str, Path)) or Path(source).suffix.lower() in TYPED


def read(source: Any, settings: Settings, like: Mapping[str, Any]) -> Table:
    """Return a table, read as the training table was: ``like`` is its schema.

    Raises:
        DataError: it cannot be read; says which line or column is why.

    >>> read({"a": [1, 2]}, Settings(), {}).kinds
    {'a': 'number'}
    """
    return read_table(source, like=like, **_how(source, settings))


def read_training(source: Path, settings: Settings, **kinds: Any) -> Table:
    """Return a table to train on; ``kinds``: those of columns, besides the settings' categories.

    Raises:
        DataError: it cannot be read, or a setting names a column that it lacks.
    """
    known = dict.fromkeys(settings.categories, "category") | kinds
    try:
        return read_table(source, kinds=known, drop=settings.drop, **_how(source, settings))
    except ArgumentError as error:
        raise DataError(str(error)) from error


def _how(source: Any, settings: Settings) -> dict[str, Any]:
    how: dict[str, Any] = {"missing": settings.missing}
    if not is_typed(source):
        how |= {"header": settings.header, "names": settings.names or None,
                "separator": settings.separator, "encoding": settings.encoding}  # fmt: skip
    return how
