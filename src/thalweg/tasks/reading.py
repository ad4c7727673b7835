"""How a table is read: what the settings say, for the kinds of files that have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from thalweg.data.table_blocks import TableBlocks, is_large_table
from thalweg.data.tables import Table, read_table
from thalweg.errors import ArgumentError, DataError
from thalweg.tasks.settings import Settings

__all__ = ["SUFFIXES", "TYPED", "blocks_of", "is_typed", "read", "read_training", "sampled"]

TYPED: Final = (".parquet", ".pq", ".jsonl", ".ndjson")  # no header, separator or encoding
SUFFIXES: Final = (".csv", ".tsv", ".tab", ".data", *TYPED)


def is_typed(source: Any) -> bool:
    """Return whether a source says of which type its values are: a frame, Parquet, JSON lines.

    >>> is_typed("a.csv"), is_typed("a.parquet"), is_typed({"a": [1]})
    (False, True, True)
    """
    return not isinstance(source, (str, Path)) or Path(source).suffix.lower() in TYPED


def read(
    source: Any, settings: Settings, like: Mapping[str, Any], only_like: bool = False
) -> Table:
    """Return a table, read as the training table was: ``like``, ``only_like`` as ``read_table``.

    Raises:
        DataError: it cannot be read; says which line or column is why.

    >>> read({"a": [1, 2]}, Settings(), {}).kinds
    {'a': 'number'}
    """
    return read_table(source, like=like, only_like=only_like, **_how(source, settings))


def blocks_of(source: Any, settings: Settings) -> TableBlocks | None:
    """Return a file that is too large to be read whole as blocks of rows, None of any other source.

    >>> blocks_of({"a": [1]}, Settings()) is None
    True
    """
    if not isinstance(source, (str, Path)) or not is_large_table(Path(source), settings.encoding):
        return None
    return TableBlocks(Path(source), drop=settings.drop, **_how(source, settings))


def read_training(source: Path, settings: Settings, **kinds: Any) -> Table:
    """Return a table to train on; ``kinds``: those of columns, besides the settings' categories.

    Raises:
        DataError: it cannot be read, or a setting names a column that it lacks.
    """
    with _settings_named():
        return read_table(
            source, kinds=_kinds(settings) | kinds, drop=settings.drop, **_how(source, settings)
        )


def sampled(blocks: TableBlocks, settings: Settings, rows: int) -> tuple[Table, list[Any]]:
    """Return about ``rows`` rows of a large file to train on, and which of each block they are.

    Raises:
        DataError: as for ``read_training``.
    """
    with _settings_named():
        return blocks.sample(rows, settings.seed, _kinds(settings))


def _kinds(settings: Settings) -> dict[str, Any]:
    return dict.fromkeys(settings.categories, "category")


@contextmanager
def _settings_named() -> Iterator[None]:
    """Tell a setting that names a column which is not there as a fault of the data."""
    try:
        yield
    except ArgumentError as error:
        raise DataError(str(error)) from error


def _how(source: Any, settings: Settings) -> dict[str, Any]:
    how: dict[str, Any] = {"missing": settings.missing}
    if not is_typed(source):
        how |= {"header": settings.header, "names": settings.names or None,
                "separator": settings.separator, "encoding": settings.encoding}  # fmt: skip
    return how
