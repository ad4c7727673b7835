"""Data: batches and splits of arrays, and the data sets that come with the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thalweg.data.batches import Batches, batches, check_finite, split
from thalweg.data.builtin import load_digits
from thalweg.errors import DataError, nearest

__all__ = ["DATASETS", "Batches", "batches", "check_finite", "load", "load_digits", "split"]

DATASETS: dict[str, Callable[[Any], tuple[Any, ...]]] = {"digits": load_digits}


def load(name: str, part: str = "train") -> tuple[Any, ...]:
    """Return a data set by its name, as a tuple of arrays.

    ``part``: which part of it, ``"train"`` or ``"test"``.

    Raises:
        DataError: there is no such data set or part, or its files are damaged.

    Example:
        >>> images, labels = load("digits", "test")
        >>> images.shape
        (10000, 28, 28)
    """
    if name not in DATASETS:
        raise DataError(f"the data set {name!r} is unknown; {nearest(name, DATASETS)}")
    return DATASETS[name](part)
