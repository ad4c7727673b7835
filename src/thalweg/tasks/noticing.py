"""What is odd about data before anything is learned from it: told, never silently mended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from thalweg.data.features.transformer import is_missing
from thalweg.data.tables import Table

__all__ = ["notes_of_classes", "notes_of_table"]

Array = np.ndarray[Any, Any]
_SPARSE: Final = 0.3  # share of missing values that is told
_RARE: Final = 0.05  # share of a class that is told
_LEAK: Final = 0.999  # correlation, or share of rows told right by one column, that is suspicious
_ENOUGH: Final = 50  # rows below which such a share says nothing


def notes_of_table(
    inputs: Table, whole: Table, targets: Sequence[str], parts: Sequence[Array]
) -> list[str]:
    """Return sentences on missing values, rare classes, repeated rows and suspicious columns."""
    notes = []
    for name, column in inputs.columns.items():
        share = float(is_missing(column.values).mean())
        if share > _SPARSE:
            notes.append(f"column {name!r} is missing in {share:.0%} of the rows")
    repeated = _repeated(inputs, parts)
    if repeated:
        notes.append(
            f"{repeated:,} rows of the test part are also in the training part, word for word"
        )
    for target in targets:
        column = whole.columns[target]
        if column.kind != "number" or len(np.unique(column.values)) <= 2:
            notes += notes_of_classes(column.values)
        notes += [
            f"column {name!r} alone tells the target {target!r} of nearly every row: is it known "
            "before the target is? If not, leave it out with --drop"
            for name in inputs.names
            if _tells(inputs.column(name), column.values)
        ]
    return notes


def notes_of_classes(labels: Array) -> list[str]:
    """Return sentences on classes that are rare.

    >>> notes_of_classes(np.array(["a"] * 97 + ["b"] * 3))
    ['the class b has 3 of 100 rows: look at its own figures, not at the accuracy']
    """
    names, counts = np.unique(labels.astype(str), return_counts=True)
    share = counts / counts.sum()
    if len(names) > 10:
        few = int((counts < 10).sum())
        return [f"{few} of {len(names)} classes have fewer than 10 rows"] if few else []
    return [
        f"the class {name} has {count:,} of {counts.sum():,} rows: look at its own figures, not at "
        "the accuracy"
        for name, count, part in zip(names, counts, share, strict=True)
        if part < _RARE
    ]


def _repeated(table: Table, parts: Sequence[Array]) -> int:
    rows = list(zip(*(c.values.tolist() for c in table.columns.values()), strict=True))
    if len(table.columns) < 2:
        return 0
    known = {repr(rows[i]) for i in parts[0]}
    return sum(repr(rows[i]) in known for i in parts[-1])


def _scaled(values: Array) -> Array:
    """Return numbers from -1 to 1, whose squares neither overflow nor vanish."""
    largest = np.abs(values).max()
    return values / largest if largest > 0 else values


def _tells(column: Array, target: Array) -> bool:
    """Whether one column gives the target away."""
    if len(target) < _ENOUGH:
        return False
    if column.dtype.kind == "f" and target.dtype.kind == "f":
        both = ~(np.isnan(column) | np.isnan(target))
        if both.sum() < _ENOUGH:
            return False
        x, y = _scaled(column[both]), _scaled(target[both])
        if x.std() == 0 or y.std() == 0:
            return False
        return bool(abs(np.corrcoef(x, y)[0, 1]) > _LEAK)
    if column.dtype.kind == "M":
        return False
    words, labels = column.astype(str), target.astype(str)
    _, place = np.unique(words, return_inverse=True)
    groups = place.max() + 1
    if groups > len(words) / 10:
        return False  # each word has so few rows that they agree by chance
    names, label = np.unique(labels, return_inverse=True)
    if len(names) < 2 or len(names) > len(words) / 10:
        return False
    table = np.zeros((groups, len(names)), np.int64)
    np.add.at(table, (place, label), 1)
    most = np.bincount(label).max() / len(label)
    right = table.max(axis=1).sum() / len(label)
    return bool(right > _LEAK and right - most > 0.01)
