"""Targets: classes as labels and numbers standardised, with the way back for predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.data.features.numbers import mean_and_deviation, read_numbers
from thalweg.data.features.transformer import Group, Transformer, Values, is_missing, words_of
from thalweg.errors import DataError, where

__all__ = ["ClassTarget", "NumberTarget"]

Array = np.ndarray[Any, Any]
_TYPES: Final[dict[str, Callable[[str], Any]]] = {
    "text": str, "whole": int, "number": float, "truth": lambda word: word == "true",
}  # fmt: skip


class ClassTarget(Transformer):
    """Labels 0, 1, ... of the classes in the order of their names.

    Shapes: (n,) to (n,) int64.

    Raises:
        DataError: a missing target, only one class, or in ``transform`` a class that the training
            rows did not have; column and rows are named.

    Example:
        >>> made = ClassTarget().fit(["no", "yes", "no"])
        >>> made.transform(["yes"]).tolist(), made.inverse_transform([0, 1])
        ([1], ['no', 'yes'])
    """

    group: ClassVar[Group] = "own"
    kinds: ClassVar[tuple[str, ...]] = ("category", "text", "number")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of labels 0, 1, ..."""
        return tuple(self.facts["classes"])

    def inverse_transform(self, labels: Any) -> list[Any]:
        """Return the class names of labels (n,), or of the largest of logits (n, classes).

        They are of the type that the training rows had: text, whole numbers, numbers or truth
        values.

        Raises:
            DataError: a label that no class has, or logits of another number of classes.
        """
        self._check_fitted()
        given = np.asarray(labels)
        count = len(self.classes)
        if given.ndim == 2 and given.shape[1] == count:
            given = given.argmax(axis=1)
        elif given.ndim != 1 or given.dtype.kind not in "iu":
            raise DataError(
                f"got predictions of shape {given.shape} and dtype {given.dtype}, wanted labels "
                f"(n,) or logits (n, {count}). {where()}"
            )
        if ((given < 0) | (given >= count)).any():
            raise DataError(f"labels go from 0 to {count - 1}, got {given.tolist()}. {where()}")
        known = [_TYPES[self.facts["type"]](name) for name in self.classes]
        return [known[label] for label in given]

    def _learn(self, column: Values) -> None:
        _check_present(column)
        words = {word for word in words_of(column) if word is not None}
        if len(words) == 1:
            raise DataError(
                f"target {column.name!r}: all {len(column.values):,} training rows are of the one "
                f"class {words.pop()!r}, so there is nothing to tell apart; add rows of another, "
                f"or split stratified. {where()}"
            )
        whole = all(word.lstrip("-").isdigit() for word in words)
        self.facts["classes"] = sorted(words, key=int) if whole else sorted(words)
        kind = column.values.dtype.kind
        number = "whole" if whole else "number"
        self.facts["type"] = {"b": "truth", "i": number, "u": number, "f": number}.get(kind, "text")

    def _apply(self, column: Values) -> Array:
        _check_present(column)
        label_of = {name: i for i, name in enumerate(self.classes)}
        words = words_of(column)
        made = np.array([label_of.get(str(word), -1) for word in words], np.int64)
        if (made < 0).any():
            row = int(np.flatnonzero(made < 0)[0])
            raise DataError(
                f"target {column.name!r}: the class {words[row]!r} in {column.rows(made < 0)} was "
                f"not among the training rows, whose classes are {list(self.classes)}. {where()}"
            )
        return made


class NumberTarget(Transformer):
    """Numbers to predict, with mean 0 and standard deviation 1 over the training rows.

    Shapes: (n,) to (n, 1) float32, as a network with one output gives them.

    Raises:
        DataError: a missing or infinite target, or the same in all training rows; column and rows
            are named.

    Example:
        >>> made = NumberTarget().fit([10.0, 30.0])
        >>> made.transform([40.0]).tolist(), made.inverse_transform([[2.0]]).tolist()
        ([[2.0]], [40.0])
    """

    group: ClassVar[Group] = "own"

    def inverse_transform(self, predictions: Any) -> Array:
        """Return predictions (n,) or (n, 1) in the unit of the target, (n,) float64.

        Raises:
            DataError: predictions of another shape.
        """
        self._check_fitted()
        given = np.asarray(predictions, np.float64)
        if given.ndim not in (1, 2) or given.shape[1:] not in ((), (1,)):
            raise DataError(f"predictions have shape {given.shape}, wanted (n, 1). {where()}")
        made = given.reshape(-1) * self.arrays["scale"] + self.arrays["center"]
        return np.asarray(made)

    def _learn(self, column: Values) -> None:
        _check_present(column)
        numbers = read_numbers(column)
        if numbers.min() == numbers.max():
            raise DataError(
                f"target {column.name!r} is {numbers[0]:g} in all {len(numbers):,} training rows: "
                f"there is nothing to learn; give rows that differ. {where()}"
            )
        center, scale = mean_and_deviation(numbers)
        self.arrays |= {"center": np.array(center), "scale": np.array(scale)}

    def _apply(self, column: Values) -> Array:
        _check_present(column)
        made = (read_numbers(column) - self.arrays["center"]) / self.arrays["scale"]
        return np.asarray(made)[:, None]


def _check_present(column: Values) -> None:
    missing = is_missing(column.values)
    if missing.any():
        raise DataError(
            f"target {column.name!r} is missing in {column.rows(missing)}; leave these rows out "
            f"(table.take), for nothing can be learned from them. {where()}"
        )
