"""Categories: whole numbers for embeddings, and one-hot columns."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.data.features.transformer import (
    Group,
    Transformer,
    Values,
    as_values,
    checked_count,
    words_of,
)
from thalweg.errors import DataError, where

__all__ = ["Codes", "OneHot"]

Array = np.ndarray[Any, Any]
_MANY: Final = 1000  # categories from which on a column is warned about
_MOSTLY: Final = 0.5  # and the share of rows with a value of their own
_FEW_ROWS: Final = 100  # below which that share says nothing
RARE: Final = "(rare)"


class _Category(Transformer):
    """The categories of the training rows, in the order of their words; rare ones joined."""

    kinds: ClassVar[tuple[str, ...]] = ("category", "text", "number")

    def __init__(self, *, rare: int = 1, **more: Any) -> None:
        checked_count("rare", rare)
        super().__init__(rare=rare, **more)

    @property
    def categories(self) -> tuple[str, ...]:
        """The words that have a code of their own, in the order of the codes."""
        return tuple(self.facts["categories"])

    def unseen(self, column: Any) -> dict[str, int]:
        """Return the words that were not in the training rows, with how often each comes."""
        self._check_fitted()
        known = {*self.facts["categories"], *self.facts["joined"]}
        words = words_of(as_values(column))
        return dict(Counter(word for word in words if word is not None and word not in known))

    def describe(self) -> str:
        """Say in a line what was learned."""
        if not self.fitted:
            return super().describe()
        joined = len(self.facts["joined"])
        told = f", {joined:,} rare ones joined" if joined else ""
        return f"{type(self).__name__}: {len(self.categories):,} categories{told}"

    def _learn(self, column: Values) -> None:
        words = words_of(column)
        counts = Counter(word for word in words if word is not None)
        if not counts:
            raise DataError(
                f"column {column.name!r}: all {len(words):,} training values are missing; leave "
                f"the column out. {where()}"
            )
        if len(counts) >= _MANY or (len(words) >= _FEW_ROWS and len(counts) > _MOSTLY * len(words)):
            warnings.warn(
                f"column {column.name!r} has {len(counts):,} categories in {len(words):,} rows: "
                f"most are seen too seldom to learn from; join them with rare=10, or leave the "
                f"column out. {where()}",
                UserWarning,
                stacklevel=2,
            )
        least = self.settings["rare"]
        self.facts["categories"] = sorted(word for word, count in counts.items() if count >= least)
        self.facts["joined"] = sorted(word for word, count in counts.items() if count < least)
        self.facts["missing"] = None in words

    def _places(self, column: Values) -> Array:
        """Return 0 for unseen or missing, then 1 for the rare if any, then one a category."""
        first = 1 + bool(self.facts["joined"])
        code_of = {word: i for i, word in enumerate(self.facts["categories"], first)}
        code_of |= dict.fromkeys(self.facts["joined"], 1)
        words: list[Any] = words_of(column)  # None is no category, and gets 0 too
        return np.fromiter((code_of.get(word, 0) for word in words), np.int64, len(words))


class Codes(_Category):
    """A whole number a category, for an embedding; 0 is for what is missing or was never seen.

    ``rare``: categories with fewer training rows than this share the code 1. ``size`` is the
    number of rows that the embedding needs.

    Shapes: (n,) to (n, 1) int64.

    Raises:
        ArgumentError: ``rare`` is no whole number from 1 on.
        DataError: in ``fit``: all values are missing.

    Example:
        >>> made = Codes().fit(["red", "blue", "red"])
        >>> made.transform(["blue", "red", "green", None]).ravel().tolist(), made.size
        ([1, 2, 0, 0], 3)
    """

    group: ClassVar[Group] = "codes"

    @property
    def size(self) -> int:
        """How many codes there are, with 0."""
        return 1 + bool(self.facts["joined"]) + len(self.facts["categories"])

    def _apply(self, column: Values) -> Array:
        return self._places(column)[:, None]


class OneHot(_Category):
    """One column a category, 1 where it is the one; all 0 for what was never seen.

    ``rare``: categories with fewer training rows than this share a column. A missing value has a
    column of its own if the training rows had missing values, and is all 0 if not.

    Shapes: (n,) to (n, categories) float32.

    Raises:
        ArgumentError: ``rare`` is no whole number from 1 on.
        DataError: in ``fit``: all values are missing.

    Example:
        >>> made = OneHot().fit(["red", "blue", "red"])
        >>> made.transform(["blue", "green"]).tolist(), made.feature_names("colour")
        ([[1.0, 0.0], [0.0, 0.0]], ['colour=blue', 'colour=red'])
    """

    def feature_names(self, name: str) -> list[str]:
        """Return the names of the columns: the column's and the category's."""
        words = [RARE] * bool(self.facts["joined"]) + list(self.facts["categories"])
        return [f"{name}={word}" for word in words] + [f"{name} is missing"] * self.facts["missing"]

    def _apply(self, column: Values) -> Array:
        places = self._places(column)
        width = bool(self.facts["joined"]) + len(self.facts["categories"])
        made = np.zeros((len(places), width + 1), np.float32)
        made[np.arange(len(places)), places] = 1
        made = made[:, 1:]
        if self.facts["missing"]:
            missing = np.array([word is None for word in words_of(column)], np.float32)
            made = np.concatenate([made, missing[:, None]], axis=1)
        return made
