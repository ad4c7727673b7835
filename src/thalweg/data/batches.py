"""Arrays in step: batches of their rows, splits of their rows, and checks before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.errors import DataError, where

__all__ = ["Batches", "batches", "check_finite", "split", "split_rows"]

Array = np.ndarray[Any, Any]
Arrays = Any  # an array, or a tuple, list or dict of arrays with one length
_BLOCK = 1 << 22  # numbers looked at together in search of NaN: 16 MB, so that no copy is large


class Batches:
    """The rows of arrays in batches: iterate over it once an epoch. Made by ``batches``."""

    def __init__(
        self, arrays: Arrays, size: int, seed: int | None, drop_last: bool, shuffle: bool
    ) -> None:
        self._names, self._columns = _columns(arrays)
        self._kind = type(arrays)
        self.rows = _length(self._names, self._columns, "batches")
        self.size, self.seed = _batch_size(size, self.rows), seed
        self.drop_last, self.shuffle = drop_last, shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return self.rows // self.size if self.drop_last else -(-self.rows // self.size)

    def __iter__(self) -> Iterator[Any]:
        order = None
        if self.shuffle:
            order = shuffled(self.rows, self.seed, self.epoch)
            self.epoch += 1
        for start in range(0, len(self) * self.size, self.size):
            stop = min(start + self.size, self.rows)
            part: Any = slice(start, stop) if order is None else order[start:stop]
            yield self._made([column[part] for column in self._columns])

    def _made(self, parts: list[Array]) -> Any:
        if issubclass(self._kind, dict):
            return dict(zip(self._names, parts, strict=True))
        return tuple(parts) if issubclass(self._kind, (tuple, list)) else parts[0]


def batches(
    train_set: Arrays,
    size: int,
    seed: int | None = None,
    drop_last: bool = False,
    shuffle: bool | None = None,
) -> Batches:
    """Return the rows of arrays in batches of ``size``; each iteration over it is one epoch.

    ``train_set``: an array, or a tuple, list or dict of arrays of one length; a batch is of the
    same kind. ``seed``: a whole number; with it every epoch has its own order, the same in every
    run. ``shuffle``: whether to shuffle; left out, a seed says yes. Without a seed the order
    differs from run to run. ``drop_last``: whether to leave out a last batch that is not full.

    Shapes: arrays (n, ...) to batches (size, ...), the last one smaller if it is kept.

    Raises:
        DataError: no arrays, no rows, arrays of several lengths, or more rows asked for in a
            batch than there are.

    Example:
        >>> x, y = np.arange(10.0), np.arange(10)
        >>> [len(part) for part, _ in batches((x, y), size=4)]
        [4, 4, 2]
        >>> first, again = batches(y, size=10, seed=0), batches(y, size=10, seed=0)
        >>> bool((next(iter(first)) == next(iter(again))).all())
        True
    """
    shuffles = seed is not None if shuffle is None else shuffle
    return Batches(train_set, size, seed, drop_last, shuffles)


def shuffled(rows: int, seed: int | None, epoch: int = 0) -> Array:
    """Return the row numbers in the order of one epoch, int64, a function of seed and epoch.

    >>> sorted(shuffled(3, seed=0, epoch=1).tolist())
    [0, 1, 2]
    """
    words = None if seed is None else [int(seed), int(epoch)]
    return np.random.default_rng(words).permutation(rows).astype(np.int64, copy=False)


def split(
    arrays: Arrays, fraction: float, seed: int = 0, stratify: Any = None
) -> tuple[Arrays, Arrays]:
    """Return two disjoint parts of the rows, chosen at random; the second holds ``fraction``.

    ``arrays``: an array, or a tuple, list or dict of arrays of one length; both parts are of the
    same kind. ``fraction``: share of the second part, between 0 and 1. ``stratify``: labels (n,);
    each label then keeps its share in both parts, as well as whole numbers allow.

    Raises:
        DataError: no arrays, no rows, several lengths, or a part would be empty.

    Example:
        >>> rest, held_out = split(np.arange(10), 0.3, seed=0)
        >>> len(rest), len(held_out)
        (7, 3)
    """
    names, columns = _columns(arrays)
    rows = _length(names, columns, "split")
    places = split_rows(rows, fraction, seed, stratify)
    made: list[Arrays] = []
    for part in places:
        taken = [column[part] for column in columns]
        if isinstance(arrays, dict):
            made.append(dict(zip(names, taken, strict=True)))
        else:
            made.append(tuple(taken) if isinstance(arrays, (tuple, list)) else taken[0])
    return made[0], made[1]


def split_rows(
    rows: int, fraction: float, seed: int = 0, stratify: Any = None
) -> tuple[Array, Array]:
    """Return the row numbers of the two parts of ``split``, int64, each in rising order.

    Raises:
        DataError: a part would be empty, or ``stratify`` does not hold one label a row.

    Example:
        >>> [part.tolist() for part in split_rows(4, 0.5, stratify=[0, 0, 0, 0])][0] != [0, 1]
        True
    """
    if not 0 < fraction < 1:
        raise DataError(
            f"split: fraction is {fraction!r}, wanted a number between 0 and 1, such as 0.1 for a "
            f"tenth of the rows. {where()}"
        )
    count = round(rows * fraction)
    if not 0 < count < rows:
        raise DataError(
            f"split: {fraction} of {rows} rows leaves {rows - count} and {count} rows, and both "
            f"parts need at least one; give more data or another fraction. {where()}"
        )
    order = shuffled(rows, seed)
    if stratify is None:
        chosen = order[:count]
    else:
        chosen = _stratified(order, _labels(stratify, rows), count)
    held = np.zeros(rows, bool)
    held[chosen] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _labels(stratify: Any, rows: int) -> Array:
    labels = np.asarray(stratify)
    if labels.shape != (rows,):
        raise DataError(
            f"split: stratify has shape {labels.shape}, wanted one label for each of {rows} rows. "
            f"{where()}"
        )
    return labels


def _stratified(order: Array, labels: Array, count: int) -> Array:
    """Return ``count`` rows, of every label its share: the largest remainders are rounded up."""
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    exact = sizes * (count / len(labels))
    wanted = np.floor(exact).astype(np.int64)
    missing = count - int(wanted.sum())
    wanted[np.argsort(wanted - exact, kind="stable")[:missing]] += 1
    in_order = codes[order]
    parts = [order[in_order == label][:n] for label, n in enumerate(wanted)]
    return np.concatenate(parts)


def check_finite(arrays: Arrays) -> None:
    """Raise unless every number in the arrays is finite; whole numbers always are.

    ``arrays``: an array, or a tuple, list or dict of arrays.

    Raises:
        DataError: a NaN or an infinity; names the array, the first row that has one, and how many
            rows do.

    Example:
        >>> check_finite({"x": np.ones(3)})
        >>> try:
        ...     check_finite({"x": np.array([1.0, np.nan])})
        ... except DataError as error:
        ...     print(str(error)[:18])
        x: row 1 holds nan
    """
    for name, column in zip(*_columns(arrays), strict=True):
        if column.dtype.kind not in "fcV" or not column.size:  # bfloat16 is of kind V
            continue
        bad = _rows_not_finite(column)
        if not len(bad):
            continue
        first = int(bad[0])
        values = np.atleast_1d(column)[first].astype(np.float64).ravel()
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        inside = f" at position {position} of the row" if values.size > 1 else ""
        others = f", as do {len(bad) - 1} other rows" if len(bad) > 1 else ""
        raise DataError(
            f"{name}: row {first} holds {values[position]}{inside}{others}; training would spread "
            f"it to every weight. Remove those rows, or fill in numbers. {where()}"
        )


def _rows_not_finite(column: Array) -> Array:
    table = np.atleast_1d(column)
    table = table.reshape(len(table), -1)
    step = max(1, _BLOCK // max(1, table.shape[1]))
    found = []
    for start in range(0, len(table), step):
        finite = np.isfinite(table[start : start + step]).all(axis=1)
        found.append(np.flatnonzero(~finite) + start)
    return np.concatenate(found)


# --- one array, or a tuple, list or dict of them -----------------------------------------------


def _columns(arrays: Arrays) -> tuple[list[str], list[Array]]:
    """Return names for messages, and the arrays."""
    if isinstance(arrays, Mapping):
        return [str(k) for k in arrays], [np.asarray(v) for v in arrays.values()]
    if isinstance(arrays, (tuple, list)):
        return [f"array {i}" for i in range(len(arrays))], [np.asarray(v) for v in arrays]
    return ["the array"], [np.asarray(arrays)]


def _length(names: Sequence[str], columns: Sequence[Array], who: str) -> int:
    """Return the common length of arrays."""
    if not columns:
        raise DataError(f"{who}: no arrays were given; give at least one. {where()}")
    for name, column in zip(names, columns, strict=True):
        if not column.ndim:
            raise DataError(f"{who}: {name} is a single number, wanted rows of numbers. {where()}")
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        told = ", ".join(f"{n} has {len(c):,}" for n, c in zip(names, columns, strict=True))
        raise DataError(
            f"{who}: the arrays have several lengths: {told} rows; row i of each must belong to "
            f"the same example. {where()}"
        )
    rows = lengths.pop()
    if not rows:
        raise DataError(f"{who}: the data is empty, it has no rows. Give some. {where()}")
    return rows


def _batch_size(size: int, rows: int) -> int:
    given: Any = size
    whole = isinstance(given, (int, np.integer)) and not isinstance(given, bool)
    if not whole or size < 1:
        raise DataError(
            f"the batch size is {size!r}, wanted a whole number from 1 to {rows:,}, the number of "
            f"rows. {where()}"
        )
    if size > rows:
        raise DataError(
            f"the batch size is {size:,}, but the data has only {rows:,} row{'s' * (rows != 1)}; "
            f"give a batch size of at most {rows:,}, or more data. {where()}"
        )
    return int(size)


def checked_rows(arrays: Arrays, who: str) -> int:
    """Return the common length of arrays; an error names ``who``.

    Raises:
        DataError: no arrays, no rows, or several lengths.

    >>> checked_rows((np.ones(3), np.zeros(3)), "fit")
    3
    """
    return _length(*_columns(arrays), who)


def checked_batch_size(size: int, rows: int) -> int:
    """Return a batch size that ``rows`` rows allow.

    Raises:
        DataError: it is not a whole number from 1 to ``rows``.

    >>> checked_batch_size(2, 3)
    2
    """
    return _batch_size(size, rows)
