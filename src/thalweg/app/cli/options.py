"""What flags mean: sizes, durations, names with values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from typing import Any

from thalweg.errors import ArgumentError

__all__ = ["duration", "named_values", "sizes"]

_UNITS = {"s": 1, "m": 60, "h": 3600}


def sizes(text: str | None) -> tuple[int, ...] | None:
    """Return the units of layers in words such as ``256,128``; ``none`` for no layer.

    Raises:
        ArgumentError: something else.

    >>> sizes("256,128"), sizes("none"), sizes(None)
    ((256, 128), (), None)
    """
    if text is None:
        return None
    if text == "none":
        return ()
    if not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", text):
        raise ArgumentError(f"--hidden {text!r}: wanted numbers such as 256,128, or none")
    return tuple(int(part) for part in text.split(","))


def duration(text: str | None) -> float | None:
    """Return the seconds of words such as ``90s``, ``10m`` or ``2h``.

    Raises:
        ArgumentError: something else.

    >>> duration("10m"), duration("1.5h")
    (600.0, 5400.0)
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
    if not found or not float(found[1]):
        raise ArgumentError(f"--time {text!r}: wanted a number and s, m or h, such as 10m")
    return float(found[1]) * _UNITS[found[2]]


def named_values(given: Iterable[str]) -> dict[str, Any]:
    """Return names and values of words such as ``ema=0.99``.

    Raises:
        ArgumentError: a word without ``=``.

    >>> named_values(["ema=0.99", "level=character"])
    {'ema': 0.99, 'level': 'character'}
    """
    made: dict[str, Any] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ArgumentError(f"--set {word!r}: wanted NAME=VALUE, such as ema=0.99")
        try:
            made[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            made[name.strip()] = value.strip()
    return made
