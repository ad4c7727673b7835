"""What every transformer of a column is: fitted once, never changed by use, told as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np

from thalweg.errors import ArgumentError, DataError, nearest, where

__all__ = ["TRANSFORMERS", "Transformer", "Values", "as_values"]

Array = np.ndarray[Any, Any]
Group = Literal["numbers", "codes", "own"]
_SHOWN: Final = 5  # rows told in an error


@dataclass(frozen=True, eq=False)
class Values:
    """The values of one column, its name, and where each row came from.

    ``values``: (n, ...). ``place``: from a row's number to words for errors.

    Example:
        >>> Values("age", np.array([31.0]), lambda row: f"line {row + 2}").place(0)
        'line 2'
    """

    name: str
    values: Array
    place: Callable[[int], str] = lambda row: f"row {row}"

    def rows(self, chosen: Array) -> str:
        """Return words for the first rows of those chosen (n,), and how many there are more."""
        found = np.flatnonzero(chosen)
        more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
        return ", ".join(self.place(int(row)) for row in found[:_SHOWN]) + more


def as_values(column: Any) -> Values:
    """Return ``Values`` of an array or sequence; ``Values`` stay as they are.

    Example:
        >>> as_values([1.0, 2.0]).name
        'values'
    """
    if isinstance(column, Values):
        return column
    return Values("values", column if isinstance(column, np.ndarray) else _array_of(column))


class Transformer:
    """Base class: ``fit`` learns from the training rows, ``transform`` only uses what was learned.

    A subclass hands its settings to ``super().__init__(**settings)`` and gives ``_learn``, which
    fills ``facts`` (what JSON can hold) and ``arrays``, and ``_apply``. ``group`` says where the
    result goes: with the other ``"numbers"`` (n, features) float32, with the other ``"codes"``
    (n, columns) int64, or into an array of its ``"own"``.

    Raises:
        ArgumentError: it is fitted a second time, or used before it is fitted.

    Example:
        >>> class Halve(Transformer):
        ...     def _learn(self, column):
        ...         self.facts = {"half": 0.5}
        ...     def _apply(self, column):
        ...         return (column.values * self.facts["half"])[:, None]
        >>> Halve().fit_transform([2.0, 4.0]).ravel().tolist()
        [1.0, 2.0]
    """

    group: ClassVar[Group] = "numbers"
    kinds: ClassVar[tuple[str, ...]] = ("number",)

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.facts: dict[str, Any] = {}
        self.arrays: dict[str, Array] = {}
        self.fitted = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if not inspect.isabstract(cls) and not cls.__name__.startswith("_"):
            TRANSFORMERS[cls.__name__] = cls

    def fit(self, column: Any) -> Transformer:
        """Learn from a column (n, ...) of the training rows, and return self.

        Raises:
            ArgumentError: it was fitted before; make a new one.
            DataError: the column is empty, or holds what the transformer cannot take.
        """
        values = as_values(column)
        if self.fitted:
            raise ArgumentError(
                f"{type(self).__name__} was fitted before (column {values.name!r}): fitting again "
                f"on other rows would mix them with the training rows; use transform, or make a "
                f"new one. {where()}"
            )
        if not len(values.values):
            raise DataError(f"column {values.name!r} has no rows to fit on. {where()}")
        self._learn(values)
        self._freeze()
        return self

    def transform(self, column: Any) -> Array:
        """Return what the network gets of a column (n, ...); nothing is learned from it.

        Raises:
            ArgumentError: it is not fitted.
            DataError: a value that cannot be taken; its row and column are named.
        """
        values = as_values(column)
        self._check_fitted()
        made = self._apply(values)
        return made if made.dtype.kind in "iu" else made.astype(np.float32)

    def fit_transform(self, column: Any) -> Array:
        """Fit on a column of the training rows, and return it transformed."""
        return self.fit(column).transform(column)

    def unseen(self, column: Any) -> dict[str, int]:
        """Return the values that were not in the training rows, with how often each comes."""
        self._check_fitted()
        return {}

    def feature_names(self, name: str) -> list[str]:
        """Return a name for each of the columns made of a column."""
        return [name]

    def describe(self) -> str:
        """Say in a line what was learned."""
        told = ", ".join(f"{key}={value!r}" for key, value in self.settings.items())
        return f"{type(self).__name__}({told})"

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return settings and facts, as JSON can hold them, and the arrays."""
        facts = {"type": type(self).__name__, "settings": dict(self.settings)}
        return facts | {"facts": dict(self.facts), "fitted": self.fitted}, dict(self.arrays)

    @staticmethod
    def from_state(state: Mapping[str, Any], arrays: Mapping[str, Array]) -> Transformer:
        """Return the transformer of a state, which transforms to the same bits.

        Raises:
            DataError: a type that does not exist, or settings that it does not have.
        """
        name = str(state.get("type"))
        if name not in TRANSFORMERS:
            raise DataError(
                f"a saved transformer is of type {name!r}; {nearest(name, TRANSFORMERS)}. If it is "
                f"one of yours, import its module before loading. {where()}"
            )
        try:
            made = TRANSFORMERS[name](**state["settings"])
            made.facts = dict(state["facts"])
            fitted = bool(state["fitted"])
        except (TypeError, KeyError) as error:
            raise DataError(
                f"the saved state of {name} does not fit this version ({error!r}); fit the "
                f"pipeline again. {where()}"
            ) from error
        made.arrays = {key: np.array(value) for key, value in arrays.items()}
        if fitted:
            made._freeze()
        return made

    def __repr__(self) -> str:
        return self.describe()

    def _learn(self, column: Values) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say what it learns")

    def _apply(self, column: Values) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not say how it transforms")

    def _freeze(self) -> None:
        for array in self.arrays.values():
            array.setflags(write=False)
        self.fitted = True

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise ArgumentError(
                f"{type(self).__name__} is not fitted; call fit with the training rows first. "
                f"{where()}"
            )


# Every transformer by the name that its state has.
TRANSFORMERS: dict[str, type[Transformer]] = {}


def checked_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise if a setting is none of its choices.

    Raises:
        ArgumentError: it is none of them.

    >>> checked_choice("missing", "mean", ("mean", "median"))
    """
    if value not in choices:
        known = [str(choice) for choice in choices]
        raise ArgumentError(f"{name}={value!r}; {nearest(str(value), known)}. {where()}")


def checked_count(name: str, value: Any, least: int = 1) -> None:
    """Raise if a setting is no whole number of at least ``least``.

    Raises:
        ArgumentError: it is not.

    >>> checked_count("length", 128)
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name}={value!r}, wanted a whole number from {least} on. {where()}")


def is_missing(values: Array) -> Array:
    """Return which values (n,) are None, NaN or NaT.

    >>> is_missing(np.array([None, "a", float("nan")], object)).tolist()
    [True, False, True]
    """
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind in "mM":
        return np.isnat(values)
    if values.dtype.kind != "O":
        return np.zeros(len(values), bool)
    found = (type(v) is not str and _is_no_value(v) for v in values.tolist())  # most are words
    return np.fromiter(found, bool, len(values))


def _is_no_value(value: Any) -> bool:
    # NaN and NaT differ from themselves; the missing value of pandas says neither yes nor no.
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def words_of(column: Values) -> list[str | None]:
    """Return the values of a column as words; None where one is missing.

    A number is the same word whatever its type: 1, 1.0 and np.int8(1) are ``"1"``.

    Raises:
        DataError: the column has more than one value a row.

    >>> words_of(Values("a", np.array([1.0, np.nan])))
    ['1', None]
    """
    check_flat(column)
    if column.values.dtype.kind == "O":
        return [v if type(v) is str else None if _is_no_value(v) else _word(v)
                for v in column.values.tolist()]  # fmt: skip
    missing = is_missing(column.values)
    return [None if gone else _word(v) for v, gone in zip(column.values, missing, strict=True)]


def check_flat(column: Values) -> None:
    """Raise if a column has more than one value a row.

    Raises:
        DataError: it has.

    >>> check_flat(Values("a", np.zeros(3)))
    """
    if column.values.ndim != 1:
        raise DataError(
            f"column {column.name!r} has shape {column.values.shape}, wanted one value a row, "
            f"(n,). {where()}"
        )


def _word(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _array_of(column: Any) -> Array:
    """Return an array of a sequence; what is not all numbers is held as objects."""
    try:
        made = np.asarray(column)
    except ValueError:  # images of several sizes
        made = np.empty(len(column), object)
        made[:] = list(column)
        return made
    if made.dtype.kind in "US":
        return np.asarray(column, object)
    return made
