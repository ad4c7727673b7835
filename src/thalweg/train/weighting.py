"""How much each row counts in training: weights of rows and of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.errors import DataError, where

__all__ = ["row_weights"]

Array = np.ndarray[Any, Any]


def row_weights(
    rows: int, labels: Array | None, sample_weight: Any, class_weight: Any
) -> Array | None:
    """Return the weight of each row in float32, None if all count alike.

    ``sample_weight``: one number a row. ``class_weight``: ``"balanced"`` (every class counts as
    much as every other: n / (classes * rows of the class)), one number a class, or a dict from
    labels to numbers; labels that it does not name count 1. ``labels``: (n,) whole numbers.

    Raises:
        DataError: a weight is negative or not finite, all are 0, there is not one for each row or
            class, or class weights are given without labels.

    >>> row_weights(3, np.array([0, 0, 1]), None, "balanced").tolist()
    [0.75, 0.75, 1.5]
    """
    if sample_weight is None and class_weight is None:
        return None
    weights = np.ones(rows, np.float64)
    if sample_weight is not None:
        given = _numbers("sample_weight", sample_weight)
        if given.shape != (rows,):
            raise DataError(
                f"sample_weight has shape {given.shape}, wanted one number for each of {rows:,} "
                f"rows. {where()}"
            )
        _check("sample_weight", given, "row")
        weights *= given
    if class_weight is not None:
        weights *= _of_classes(labels, class_weight)
    if not weights.any():
        raise DataError(f"all rows have the weight 0, so that none would count. {where()}")
    return weights.astype(np.float32)


def _numbers(name: str, given: Any) -> Array:
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} does not hold numbers: {error}. {where()}") from error


def _check(name: str, given: Array, what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(given) | (given < 0))
    if len(bad):
        raise DataError(
            f"{name}: {what} {bad[0]} has the weight {given[bad[0]]}, wanted a number from 0 "
            f"({len(bad):,} are not). {where()}"
        )


def _of_classes(labels: Array | None, given: Any) -> Array:
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise DataError(
            "class_weight needs targets that hold one label a row; for labels of tokens or pixels "
            "use functools.partial(thalweg.nn.losses.cross_entropy, class_weights=...) as the "
            f"loss. {where()}"
        )
    whole = labels.astype(np.int64)
    found, place, counts = np.unique(whole, return_inverse=True, return_counts=True)
    if isinstance(given, str):
        if given != "balanced":
            raise DataError(
                f"class_weight is {given!r}, wanted 'balanced', one number a class, or a dict. "
                f"{where()}"
            )
        return np.asarray(len(whole) / (len(found) * counts))[place]
    if isinstance(given, Mapping):
        table = np.array([float(given.get(int(label), 1.0)) for label in found])
        unknown = [k for k in given if k not in found.tolist()]
        if unknown:
            raise DataError(
                f"class_weight names the label {unknown[0]!r}, which no row has; the labels are "
                f"{', '.join(map(str, found[:20]))}. {where()}"
            )
        _check("class_weight", table, "class")
        return table[place]
    table = _numbers("class_weight", given)
    if table.ndim != 1 or len(table) <= found.max() or found.min() < 0:
        raise DataError(
            f"class_weight has shape {table.shape}, and the labels go from {found.min()} to "
            f"{found.max()}; wanted one number a class. {where()}"
        )
    _check("class_weight", table, "class")
    weights: Array = table[whole]
    return weights
