"""Sampling orders: which rows an epoch shows, and in which order, from seed and epoch alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from thalweg.data.batches import shuffled as permutation
from thalweg.errors import DataError, where

__all__ = [
    "Order", "bucketed", "class_balanced", "row_random", "sequential", "shuffled", "sliced",
    "weighted",
]  # fmt: skip

Array = np.ndarray[Any, Any]
_POOL = 64  # batches sorted together by length: enough for little padding, few for a random order


class Order(Protocol):
    """An order of rows: ``rows`` of an epoch are cut into consecutive batches of ``size``."""

    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        """Return the row numbers of one epoch, int64, each from 0 to ``count`` - 1."""


@dataclass(frozen=True)
class _Sequential:
    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        return np.arange(count, dtype=np.int64)


@dataclass(frozen=True)
class _Shuffled:
    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        return permutation(count, seed, epoch)


@dataclass(frozen=True)
class _Sliced:
    samples: int

    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        start, left = epoch * self.samples, self.samples
        parts: list[Array] = []
        while left:
            turn, at = divmod(start, count)  # the pass through all rows, and where it stands
            part = permutation(count, seed, turn)[at : at + left]
            parts.append(part)
            start, left = start + len(part), left - len(part)
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class _Weighted:
    weights: Array
    samples: int
    replace: bool
    who: str = "weighted"

    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        _check_count(self.who, len(self.weights), count)
        random = np.random.default_rng([seed, epoch])
        share = self.weights / self.weights.sum()
        drawn = random.choice(count, self.samples, replace=self.replace, p=share)
        return np.asarray(drawn, np.int64)


@dataclass(frozen=True, eq=False)
class _ClassBalanced:
    codes: Array
    samples: int

    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        _check_count("class_balanced", len(self.codes), count)
        random = np.random.default_rng([seed, epoch])
        classes = int(self.codes.max()) + 1
        # Every class as often as every other, up to one: the turns are dealt and then shuffled.
        turns = random.permutation(np.resize(random.permutation(classes), self.samples))
        made = np.empty(self.samples, np.int64)
        for label in range(classes):
            members = np.flatnonzero(self.codes == label)
            places = np.flatnonzero(turns == label)
            rounds = -(-len(places) // len(members))
            # Each round shows every member once, so that none is forgotten by chance.
            dealt = [random.permutation(members) for _ in range(rounds)]
            made[places] = np.concatenate([*dealt, members[:0]])[: len(places)]
        return made


@dataclass(frozen=True, eq=False)
class _Bucketed:
    lengths: Array
    edges: Array | None

    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        _check_count("bucketed", len(self.lengths), count)
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(count).astype(np.int64)
        if self.edges is None:
            batches, rest = self._pooled(order, size)
        else:
            batches, rest = self._by_edge(order, size)
        shuffled_batches = [batches[i] for i in random.permutation(len(batches))]
        return np.concatenate([*shuffled_batches, rest])

    def _pooled(self, order: Array, size: int) -> tuple[list[Array], Array]:
        """Sort pools of many batches by length, so that the rows of a batch are alike."""
        batches, full = [], len(order) // size * size
        for start in range(0, full, size * _POOL):
            pool = order[start : min(start + size * _POOL, full)]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        return batches, order[full:]

    def _by_edge(self, order: Array, size: int) -> tuple[list[Array], Array]:
        """Make batches of one bucket each; what does not fill a batch comes last, by length."""
        batches, left = [], []
        bucket = np.searchsorted(self.edges, self.lengths[order])  # type: ignore[arg-type]
        for number in np.unique(bucket):
            members = order[bucket == number]
            full = len(members) // size * size
            batches += [members[i : i + size] for i in range(0, full, size)]
            left.append(members[full:])
        rest = np.concatenate(left)
        rest = rest[np.argsort(self.lengths[rest], kind="stable")]
        full = len(rest) // size * size
        batches += [rest[i : i + size] for i in range(0, full, size)]
        return batches, rest[full:]


def sequential() -> Order:
    """Return the order of the data set itself, the same in every epoch.

    Example:
        >>> sequential().rows(4, size=2, seed=0, epoch=0).tolist()
        [0, 1, 2, 3]
    """
    return _Sequential()


def shuffled() -> Order:
    """Return a random order of all rows, another one in each epoch.

    Example:
        >>> order = shuffled()
        >>> sorted(order.rows(4, size=2, seed=0, epoch=3).tolist())
        [0, 1, 2, 3]
    """
    return _Shuffled()


def sliced(samples: int) -> Order:
    """Return random rows, ``samples`` an epoch, such that all come before one comes again.

    For data so large that one pass through it is too long an epoch: what happens once an epoch, a
    validation or a checkpoint, then happens every ``samples`` rows.

    Raises:
        DataError: ``samples`` is no whole number from 1 on.

    Example:
        >>> order = sliced(2)
        >>> epochs = [order.rows(6, 1, seed=0, epoch=epoch) for epoch in range(3)]
        >>> sorted(np.concatenate(epochs).tolist())
        [0, 1, 2, 3, 4, 5]
    """
    return _Sliced(_samples("sliced", samples))


def weighted(weights: Any, samples: int | None = None, replace: bool = True) -> Order:
    """Return random rows, each drawn with a chance in proportion to its weight.

    ``weights``: (n,), not negative, not all zero. ``samples``: rows of an epoch, left out n.
    ``replace``: whether a row may come again in an epoch.

    Raises:
        DataError: weights that are negative, not finite or all zero, or more rows asked for
            without replacement than have a weight above zero.

    Example:
        >>> set(weighted([0, 1, 1]).rows(3, size=3, seed=0, epoch=0).tolist()) <= {1, 2}
        True
    """
    given = np.asarray(weights, np.float64)
    if given.ndim != 1 or not given.size:
        raise DataError(
            f"weighted: weights have shape {given.shape}, wanted one weight a row. {where()}"
        )
    bad = np.flatnonzero(~(np.isfinite(given) & (given >= 0)))
    if len(bad):
        raise DataError(
            f"weighted: the weight of row {bad[0]} is {given[bad[0]]}, wanted a finite number, 0 "
            f"or more. {where()}"
        )
    possible = int((given > 0).sum())
    count = len(given) if samples is None else _samples("weighted", samples)
    if not possible or (not replace and count > possible):
        raise DataError(
            f"weighted: {count:,} rows are wanted of {possible:,} with a weight above 0"
            f"{'' if replace else ' and without replacement'}; give more weights above 0, or "
            f"ask for fewer samples. {where()}"
        )
    return _Weighted(given, count, replace)


def class_balanced(labels: Any, samples: int | None = None) -> Order:
    """Return random rows such that every class comes equally often, up to one.

    A rare class repeats its rows; a row repeats only after all others of its class came.

    ``labels``: the class of each row (n,). ``samples``: rows of an epoch, left out n.

    Raises:
        DataError: labels that are not (n,), or empty.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
        >>> rows = class_balanced(labels).rows(8, size=4, seed=0, epoch=0)
        >>> np.bincount(labels[rows]).tolist()
        [4, 4]
    """
    given = np.asarray(labels)
    if given.ndim != 1 or not given.size:
        raise DataError(
            f"class_balanced: labels have shape {given.shape}, wanted one class a row. {where()}"
        )
    codes = np.unique(given, return_inverse=True)[1]
    return _ClassBalanced(
        codes, len(given) if samples is None else _samples("class_balanced", samples)
    )


def bucketed(lengths: Any, edges: Any = None) -> Order:
    """Return all rows in a random order, such that a batch holds rows of like lengths.

    Little is then padded. With ``edges`` (rising whole numbers) the rows of a batch lie between
    the same two of them, so that padding to the edge above gives as many shapes, and
    compilations, as there are edges; only what fills no batch in its bucket is put together.

    Raises:
        DataError: lengths that are not whole numbers (n,), a length above the last edge, or edges
            that do not rise.

    Example:
        >>> order = bucketed([9, 1, 8, 2])
        >>> rows = order.rows(4, size=2, seed=0, epoch=0)
        >>> sorted(sorted(rows[i : i + 2].tolist()) for i in (0, 2))
        [[0, 2], [1, 3]]
    """
    given = np.asarray(lengths)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        raise DataError(
            f"bucketed: lengths have shape {given.shape} and dtype {given.dtype}, wanted one "
            f"whole number a row. {where()}"
        )
    if edges is None:
        return _Bucketed(given, None)
    return _Bucketed(given, checked_edges(edges, given, "bucketed"))


def checked_edges(edges: Any, lengths: Array, who: str) -> Array:
    """Return bucket edges, int64, that rise and hold the longest row.

    Raises:
        DataError: they do not rise, or a row is longer than the last.

    >>> checked_edges([4, 8], np.array([5]), "bucketed").tolist()
    [4, 8]
    """
    made = np.atleast_1d(np.asarray(edges))
    rising = made.ndim == 1 and made.size and made.dtype.kind in "iu" and (np.diff(made) > 0).all()
    if not rising or made[0] < 1:
        raise DataError(
            f"{who}: edges are {edges!r}, wanted rising whole numbers such as [16, 32, 64]. "
            f"{where()}"
        )
    if lengths.max() > made[-1]:
        row = int(lengths.argmax())
        raise DataError(
            f"{who}: row {row} has length {int(lengths[row])}, more than the last edge {made[-1]}; "
            f"add a larger edge, or shorten the row. {where()}"
        )
    return made.astype(np.int64)


def row_random(seed: int, epoch: int, row: int) -> np.random.Generator:
    """Return the random generator of one row in one epoch, whichever thread asks.

    Workers with a generator each would give all the same numbers, or other ones with another
    number of workers; a generator a row can do neither.

    Example:
        >>> a, b = row_random(0, 1, 7), row_random(0, 1, 7)
        >>> bool(a.random() == b.random()), bool(a.random() == row_random(0, 1, 8).random())
        (True, False)
    """
    return np.random.default_rng([seed, epoch, row])


def _samples(who: str, samples: Any) -> int:
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 1:
        raise DataError(
            f"{who}: samples is {samples!r}, wanted a whole number from 1 on. {where()}"
        )
    return int(samples)


def _check_count(who: str, made_for: int, count: int) -> None:
    if made_for != count:
        raise DataError(
            f"{who}: made for {made_for:,} rows, but the data set has {count:,}; make it from the "
            f"part that is trained on. {where()}"
        )
