"""Hyper-parameters of optimisers: their legal values as data, and how programs compare them."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, NamedTuple

from thalweg.errors import ArgumentError, where


class Interval(NamedTuple):
    """The numbers that a hyper-parameter may be: from ``low`` to ``high``.

    ``optional``: None is legal too, and means that it is not used. ``length``: if not 0, the
    hyper-parameter is a tuple of so many numbers.

    >>> UNIT.says("momentum")
    'a number with 0 <= momentum < 1'
    """

    low: float = 0.0
    high: float = math.inf
    with_low: bool = True
    with_high: bool = False
    optional: bool = False
    length: int = 0

    def holds(self, value: float) -> bool:
        """Return whether a number lies inside; NaN lies nowhere."""
        above = value >= self.low if self.with_low else value > self.low
        return above and (value <= self.high if self.with_high else value < self.high)

    def says(self, name: str) -> str:
        """Return the legal values in words."""
        right = "" if self.high == math.inf else f" <{'=' * self.with_high} {self.high:g}"
        middle = f"{self.low:g} <{'=' * self.with_low} {name}{right}"
        what = f"a tuple of {self.length} numbers" if self.length else "a number"
        return f"{what} with {middle}{', or None' if self.optional else ''}"


UNIT = Interval(0, 1)
TWO_UNITS = Interval(0, 1, length=2)
FRACTION = Interval(0, 1, with_low=False)
NON_NEGATIVE = Interval()
POSITIVE = Interval(with_low=False)
OPTIONAL_POSITIVE = Interval(with_low=False, optional=True)


def checked(owner: str, name: str, value: Any, legal: Interval) -> Any:
    """Return the value as a plain Python number (or a tuple of them) if it is legal.

    Raises:
        ArgumentError: it is not a number, or lies outside.

    >>> checked("SGD", "momentum", 0.9, UNIT)
    0.9
    """
    if value is None and legal.optional:
        return None
    if legal.length:
        parts = tuple(value) if isinstance(value, (tuple, list)) else ()
        if len(parts) == legal.length and all(_is_legal(part, legal) for part in parts):
            return tuple(_plain(part) for part in parts)
    elif _is_legal(value, legal):
        return _plain(value)
    raise ArgumentError(f"{owner}: {name} is {value!r}, wanted {legal.says(name)}. {where()}")


def _is_legal(value: object, legal: Interval) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return legal.holds(float(value))


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else float(value)


class Same:
    """An object known by its identity, kept alive so that no other can take its place."""

    __slots__ = ("it",)

    def __init__(self, it: Any) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.it is self.it

    def __hash__(self) -> int:
        return id(self.it)


def comparable(value: Any) -> Any:
    """Return what stands for a value in a fingerprint: itself if it can be hashed.

    >>> comparable([1]) == comparable([1]), comparable(1) == comparable(1)
    (False, True)
    """
    try:
        hash(value)
    except TypeError:
        return Same(value)
    return value
