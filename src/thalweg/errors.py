"""The errors that Thalweg raises: what was got, what was wanted, what to do, and where."""

from __future__ import annotations

import contextlib
import difflib
import linecache
import os
import sys
from collections.abc import Iterable
from types import CodeType

_NAMES = 100  # names that an error lists
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_OURS: dict[str, bool] = {}  # whether a file belongs to Thalweg


class ThalwegError(Exception):
    """Base class of every error that Thalweg raises on purpose."""


class ShapeError(ThalwegError, ValueError):
    """Shapes that do not fit together."""


class DTypeError(ThalwegError, TypeError):
    """A dtype that the operation does not take."""


class ArgumentError(ThalwegError, ValueError):
    """An argument outside of its legal values."""


class SettingError(ThalwegError, ValueError):
    """A setting or environment variable that this machine or version cannot honour."""


class DataError(ThalwegError, ValueError):
    """Data that cannot be trained on, or that was damaged."""


class FormatError(ThalwegError, ValueError):
    """A file that is missing, truncated, of another kind or of another architecture."""


class TraceError(ThalwegError, RuntimeError):
    """Something that cannot be done while a function is being captured by ``compile``."""


class GradientError(ThalwegError, ValueError):
    """A gradient that does not exist or is not asked for correctly."""


class NumericsError(ThalwegError, ArithmeticError):
    """A NaN or an infinity where finite numbers were wanted."""


class RecompilationWarning(UserWarning):
    """One function was compiled for more signatures than is likely to be meant."""


def _is_ours(code: CodeType) -> bool:
    """Whether code belongs to Thalweg, or only stands between it and its caller.

    The ``__init__`` that dataclasses write has no file; ``with`` of a generator goes by contextlib.
    """
    name = code.co_filename
    ours = _OURS.get(name)  # every node of a graph asks for each frame above it
    if ours is None:
        ours = _OURS[name] = name == contextlib.__file__ or name.startswith(_PACKAGE)
    return ours or (name == "<string>" and code.co_name == "__init__")


def user_frame() -> tuple[str, int]:
    """Return file name and line number of the innermost frame outside of Thalweg.

    >>> user_frame()[1] > 0
    True
    """
    frame = sys._getframe(1)
    known = _OURS.get
    while (above := frame.f_back) is not None:
        code = frame.f_code
        if not known(code.co_filename) and not _is_ours(code):
            break
        frame = above
    return frame.f_code.co_filename, frame.f_lineno


def where(location: tuple[str, int] | None = None) -> str:
    """Return ``at file:line: source`` for a location, by default the caller's line of user code."""
    filename, line = location or user_frame()
    source = linecache.getline(filename, line).strip()
    return f"at {filename}:{line}" + (f": {source}" if source else "")


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return a sentence that offers the known names nearest to ``name``.

    >>> nearest("adm", ["adam", "sgd"])
    "did you mean 'adam'? Known: adam, sgd"
    """
    known = sorted(choices)
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    more = f" and {len(known) - _NAMES:,} more" if len(known) > _NAMES else ""
    hint = "did you mean " + " or ".join(repr(c) for c in close) + "? " if close else ""
    return f"{hint}Known: {', '.join(known[:_NAMES])}{more}"
