"""Which rows train, validate and test: stratified, by group or by time, never leaking."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thalweg.data.features import ClassTarget, Transformer
from thalweg.data.splitting import group_split, random_split, stratified_split, time_split
from thalweg.data.tables import Table
from thalweg.errors import ArgumentError, DataError, where
from thalweg.tasks.settings import Settings

__all__ = ["Parts", "shares", "split_labels", "split_rows"]

Array = np.ndarray[Any, Any]
Parts = tuple[Array, Array, Array]
_RARE: Final = 3  # rows of a class that can be in all three parts


def shares(settings: Settings) -> list[float]:
    """Return the shares of training, validation and test.

    Raises:
        ArgumentError: they are not between 0 and 1, or leave nothing to train on.

    >>> shares(Settings(test=0.2, validation=0.2))
    [0.6, 0.2, 0.2]
    """
    test, held = settings.test, settings.validation
    if not (0 < test < 1 and 0 < held < 1 and test + held < 1):
        raise ArgumentError(
            f"test={test} and validation={held} are shares of the rows: wanted two numbers above 0 "
            f"whose sum is below 1. {where()}"
        )
    return [round(1 - test - held, 12), held, test]


def split_rows(
    table: Table, settings: Settings, target: Transformer, notes: list[str]
) -> Parts:
    """Return the rows (n,) of the training, the validation and the test part of a table.

    Raises:
        DataError: too few rows or groups, or a column of time that is none or has gaps.
    """
    wanted = shares(settings)
    if settings.group is not None:
        return _three(group_split(table.column(settings.group).astype(str), wanted, settings.seed))
    if settings.time is not None:
        _check_times(table, settings.time)
        return _three(time_split(table.column(settings.time), wanted))
    if isinstance(target, ClassTarget):
        name = settings.target[0]
        return split_labels(table.column(name).astype(str), settings, notes)
    return _three(random_split(len(table), wanted, settings.seed))


def _check_times(table: Table, name: str) -> None:
    column = table.columns[name]
    if column.kind not in ("number", "date"):
        raise DataError(
            f"the column {name!r} cannot order the rows in time: it holds {column.kind}s "
            f"({column.reason}); wanted dates or numbers. {where()}"
        )
    missing = np.flatnonzero(np.isnat(column.values) if column.kind == "date"
                             else np.isnan(column.values))  # fmt: skip
    if len(missing):
        raise DataError(
            f"the column {name!r} is to order the rows in time and is missing in {len(missing):,} "
            f"of them, first in {table.describe(int(missing[0]))}; fill it in, or leave those rows "
            f"out. {where()}"
        )


def split_labels(labels: Array, settings: Settings, notes: list[str]) -> Parts:
    """Return parts with each class in its share; classes too rare for that only train."""
    wanted = shares(settings)
    names, counts = np.unique(labels, return_counts=True)
    rare = names[counts < _RARE]
    kept = np.flatnonzero(~np.isin(labels, rare))
    if len(rare):
        notes.append(
            f"classes with one or two rows ({', '.join(map(str, rare[:5]))}) are in the training "
            "part only: nothing can be said of how well they are told"
        )
    if not len(kept):
        return _three(random_split(len(labels), wanted, settings.seed))
    training, held, test = stratified_split(labels[kept], wanted, settings.seed)
    alone = np.flatnonzero(np.isin(labels, rare))
    return np.concatenate([kept[training], alone]), kept[held], kept[test]


def _three(parts: Any) -> Parts:
    training, held, test = parts
    return training, held, test
