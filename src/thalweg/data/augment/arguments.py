"""Checks of the arguments of augmentations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, where


def number(who: str, name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Return a finite number from ``low`` to ``high``.

    Raises:
        ArgumentError: it is none.

    >>> number("Noise", "std", 1, 0)
    1.0
    """
    good = isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)
    if not good or isinstance(value, bool) or not low <= value <= high:
        span = "" if low == -math.inf else f" from {low:g}"
        span += "" if high == math.inf else f" to {high:g}"
        raise ArgumentError(f"{who}: {name} must be a number{span}, got {value!r}. {where()}")
    return float(value)


def probability(who: str, value: Any) -> float:
    """Return a number from 0 to 1.

    >>> probability("Flip", 0.5)
    0.5
    """
    return number(who, "p", value, 0, 1)


def whole(who: str, name: str, value: Any, low: int) -> int:
    """Return a whole number from ``low`` on.

    >>> whole("Mask", "count", 2, 1)
    2
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ArgumentError(
            f"{who}: {name} must be a whole number from {low}, got {value!r}. {where()}"
        )
    return value


def span(
    who: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf,
    centre: float = 0.0,
) -> tuple[float, float]:  # fmt: skip
    """Return a pair (smallest, largest); a number ``v`` means ``centre - v`` to ``centre + v``.

    Raises:
        ArgumentError: it is neither, or not within ``low`` to ``high``.

    >>> span("Brightness", "strength", 0.2, low=0, centre=1)
    (0.8, 1.2)
    """
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ArgumentError(
                f"{who}: {name} must be a number or a pair (smallest, largest), got {value!r}. "
                f"{where()}"
            )
        first, last = (number(who, name, v, low, high) for v in value)
        if first > last:
            raise ArgumentError(
                f"{who}: {name} is {value!r}; the smaller number comes first. {where()}"
            )
        return first, last
    reach = number(who, name, value, 0)
    return max(low, centre - reach), number(who, name, centre + reach, low, high)
