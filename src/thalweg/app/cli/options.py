"""What flags mean: sizes, durations, names with values."""

from __future__ import annotations

import re
import tomllib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from thalweg.errors import ArgumentError, ThalwegError

__all__ = [
    "advice_in_flags", "duration", "in_flags", "named_values", "shown", "sizes", "warnings_told",
    "without_place",
]  # fmt: skip

_UNITS = {"s": 1, "m": 60, "h": 3600}
_PLACE = re.compile(r"\s*\bat \S+:\d+(: .*)?$", re.MULTILINE)  # where a warning was given
# What errors advise in Python, as what it is on the command line.
_ADVICE = (
    (r"drop=\[(['\"])(.+?)\1\]", r"--drop \2"),
    (r"missing=\[(['\"])(.*?)\1, \.\.\.\]", r"--missing \2"),
    (r"kinds=\{(['\"])(.+?)\1: \"category\"\}", r"--category \2"),
    (r"encoding=(['\"])(.+?)\1", r"--set encoding=\2"),
    (r"names=\[\.\.\.\]", r"--set 'names=[...]'"),
    (r"header=False", r"--set header=false"),
    (r"header=True", r"--set header=true"),
)


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


def in_flags(message: str) -> str:
    """Return an error's advice, which is in words of Python, in those of the command line.

    >>> in_flags("all values are missing; leave it out with drop=['day'], or fill it in.")
    'all values are missing; leave it out with --drop day, or fill it in.'
    """
    for pattern, flag in _ADVICE:
        message = re.sub(pattern, flag, message)
    return message


@contextmanager
def advice_in_flags() -> Iterator[None]:
    """Raise Thalweg's errors anew, with their advice in words of the command line.

    >>> with advice_in_flags():
    ...     pass
    """
    try:
        yield
    except ThalwegError as error:
        raise type(error)(in_flags(str(error))) from error


@contextmanager
def warnings_told() -> Iterator[None]:
    """Say each warning in one line on standard error, without the line of code that gave it.

    >>> with warnings_told():
    ...     pass
    """

    def tell(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"note: {without_place(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = tell
        yield


def without_place(message: str) -> str:
    """Return an error's words without the line of code that it ends with.

    >>> without_place("it is no folder; make it. at some/file.py:12: load(x)")
    'it is no folder; make it.'
    """
    return _PLACE.sub("", message)


def shown(value: float) -> str:
    """Return a figure with four decimals, or four digits where these would say nothing.

    >>> shown(0.5), shown(0.0), shown(0.000012345), shown(2.5e9)
    ('0.5000', '0.0000', '1.234e-05', '2.5e+09')
    """
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"
