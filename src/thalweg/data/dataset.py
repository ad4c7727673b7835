"""The one protocol of every data source, and the sources that hold arrays in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from thalweg.data.batches import checked_rows
from thalweg.data.sampling import row_random
from thalweg.errors import DataError, where

__all__ = [
    "ArrayDataset", "Dataset", "Source", "Subset", "Transformed", "as_dataset", "fetch_epoch",
    "gather", "read_all",
]  # fmt: skip

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]


@runtime_checkable
class Dataset(Protocol):
    """What a source of samples must offer; ``Source`` gives the rest by default.

    ``fetch(rows)`` takes row numbers (n,), int64, and returns one array for each of ``names``,
    inputs first and targets last, each with n as its first axis. It may be called from several
    threads at once, with rows in any order and with repeats.

    Optional are ``lengths`` (one whole number a row, for ``bucketed``) and ``labels`` (one class
    a row, for stratified splits and ``class_balanced``), each None where the source has none;
    ``in_memory`` (whether fetching only copies, so that threads would not help); and the method
    ``fetch_epoch(rows, seed, epoch)`` of a source with something random in its rows.

    Example:
        >>> isinstance(ArrayDataset(np.zeros((3, 2))), Dataset)
        True
    """

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each array that ``fetch`` returns."""

    def __len__(self) -> int: ...

    def fetch(self, rows: Array) -> Arrays:
        """Return the arrays of these rows."""

    def describe(self, row: int) -> str:
        """Say where a row came from: a file, or a line of one."""


class Source:
    """Base class of the data sources: no lengths, no labels, rows told by their number.

    Example:
        >>> class Squares(Source):
        ...     names = ("x", "y")
        ...     def __len__(self):
        ...         return 10
        ...     def fetch(self, rows):
        ...         return rows, rows**2
        >>> Squares()[3]
        (array(3), array(9))
    """

    names: tuple[str, ...] = ()
    lengths: Array | None = None
    labels: Array | None = None
    in_memory: bool = False

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not say how many rows it has")

    def fetch(self, rows: Array) -> Arrays:
        """Return the arrays of these rows; every source has its own."""
        raise NotImplementedError(f"{type(self).__name__} does not fetch rows")

    def describe(self, row: int) -> str:
        """Say where a row came from: a file, or a line of one."""
        return f"row {int(row)}"

    def __getitem__(self, row: int) -> Arrays:
        rows = checked_places(np.asarray([row]), len(self))
        return tuple(np.asarray(column[0]) for column in self.fetch(rows))

    def subset(self, rows: Any) -> Subset:
        """Return these rows as a data set of its own; nothing is copied."""
        return Subset(self, rows)


class ArrayDataset(Source):
    """Arrays of one length, inputs first and targets last; row i of each is sample i.

    ``names``: one for each array; left out, the last of several arrays is called ``target``.
    ``labels``: classes (n,) for stratified splits and balanced sampling; left out, the last array
    is taken if it is one of whole numbers with one number a row. Nothing is copied.

    Raises:
        DataError: no arrays, no rows, several lengths, or as many names as there are not arrays.

    Example:
        >>> samples = ArrayDataset(np.arange(6.0).reshape(3, 2), np.array([0, 1, 1]))
        >>> [column.tolist() for column in samples.fetch(np.array([2, 0]))]
        [[[4.0, 5.0], [0.0, 1.0]], [1, 0]]
    """

    in_memory = True

    def __init__(
        self, *arrays: Any, names: Sequence[str] | None = None, labels: Any = None
    ) -> None:
        self.arrays: Arrays = tuple(np.asarray(array) for array in arrays)
        self.rows = checked_rows(self.arrays, "ArrayDataset")
        self.names = names_of(len(self.arrays), names)
        self.labels = _labels(self.arrays, labels, self.rows)

    def __len__(self) -> int:
        return self.rows

    def fetch(self, rows: Array) -> Arrays:
        """Return the arrays of these rows, copied.

        Raises:
            IndexError: a row number is outside of the arrays.
        """
        return tuple([gather(array, rows) for array in self.arrays])


def gather(array: Array, rows: Array) -> Array:
    """Return ``array[rows]``, the quickest way: ``take`` copies whole rows of memory.

    Shapes: array (n, ...), rows (m,) to (m, ...).

    Raises:
        IndexError: a row number is outside of the array.

    >>> gather(np.array([5, 6, 7]), np.array([2, 0])).tolist()
    [7, 5]
    """
    return array.take(rows, axis=0)


class Subset(Source):
    """Some rows of a data set, in the order given, as a data set of its own.

    ``rows``: row numbers (m,), or truth values (n,) that choose rows.

    Raises:
        DataError: no rows, rows that are not whole numbers, or rows outside of the data set.

    Example:
        >>> part = Subset(ArrayDataset(np.array([5, 6, 7])), [2, 0])
        >>> len(part), part.fetch(np.array([0]))[0].tolist()
        (2, [7])
    """

    def __init__(self, dataset: Dataset, rows: Any) -> None:
        self.dataset = dataset
        self.rows = checked_places(np.asarray(rows), len(dataset))
        if not len(self.rows):
            raise DataError(f"Subset: no rows were chosen; give at least one. {where()}")
        self.names = tuple(dataset.names)
        self.in_memory = bool(getattr(dataset, "in_memory", False))
        lengths, labels = getattr(dataset, "lengths", None), getattr(dataset, "labels", None)
        self.lengths = None if lengths is None else np.asarray(lengths)[self.rows]
        self.labels = None if labels is None else np.asarray(labels)[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def fetch(self, rows: Array) -> Arrays:
        """Return the arrays of these rows of the subset."""
        return self.dataset.fetch(self.rows[rows])

    def fetch_epoch(self, rows: Array, seed: int, epoch: int) -> Arrays:
        """Return the arrays of these rows of the subset, as one epoch shows them."""
        return fetch_epoch(self.dataset, self.rows[rows], seed, epoch)

    def describe(self, row: int) -> str:
        """Say where a row of the subset came from, in the words of the whole data set."""
        return self.dataset.describe(int(self.rows[row]))


class Transformed(Source):
    """A data set whose samples pass through a function, with random numbers if it wants them.

    ``function(random, *arrays)`` takes a NumPy generator and the arrays of one sample, without
    the batch axis, and returns the new arrays, all of one shape over the rows. The generator
    depends on the seed of the loader, the epoch and the row alone: not on the worker, so that
    workers never repeat one another's numbers, and not on how many there are. A row that comes
    twice in an epoch gets the same numbers.

    ``names``: of the new arrays, left out the old ones.

    Example:
        >>> def jitter(random, x, y):
        ...     return x + random.normal(size=x.shape), y
        >>> noisy = Transformed(ArrayDataset(np.zeros((4, 2)), np.arange(4)), jitter)
        >>> first, again = (noisy.fetch_epoch(np.array([1]), 0, epoch=5) for _ in range(2))
        >>> bool((first[0] == again[0]).all())
        True
    """

    def __init__(
        self, dataset: Dataset, function: Callable[..., Any], names: Sequence[str] | None = None
    ) -> None:
        self.dataset, self.function = dataset, function
        self.names = tuple(dataset.names if names is None else names)
        self.labels = getattr(dataset, "labels", None)
        self.lengths = getattr(dataset, "lengths", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def fetch(self, rows: Array) -> Arrays:
        """Return the samples of these rows, with the random numbers of seed 0 and epoch 0."""
        return self.fetch_epoch(rows, 0, 0)

    def fetch_epoch(self, rows: Array, seed: int, epoch: int) -> Arrays:
        """Return the samples of these rows as one epoch shows them."""
        columns = fetch_epoch(self.dataset, rows, seed, epoch)
        made = []
        for i, row in enumerate(rows):
            random = row_random(seed, epoch, int(row))
            sample = self.function(random, *(column[i] for column in columns))
            made.append(sample if isinstance(sample, tuple) else (sample,))
        return tuple(np.stack(parts) for parts in zip(*made, strict=True))

    def describe(self, row: int) -> str:
        """Say where a row came from, in the words of the data set inside."""
        return self.dataset.describe(row)


def fetch_epoch(dataset: Dataset, rows: Array, seed: int, epoch: int) -> Arrays:
    """Return rows as one epoch shows them: what is random in them follows seed, epoch and row.

    Example:
        >>> fetch_epoch(ArrayDataset(np.array([5, 6])), np.array([1]), seed=0, epoch=0)[0].tolist()
        [6]
    """
    special = getattr(dataset, "fetch_epoch", None)
    return dataset.fetch(rows) if special is None else special(rows, seed, epoch)


def as_dataset(data: Any) -> Dataset:
    """Return a data set: the one given, or one of the arrays given.

    ``data``: a ``Dataset``, an array, or a tuple, list or dict of arrays of one length.

    Raises:
        DataError: no arrays, no rows, or several lengths.

    Example:
        >>> as_dataset({"x": [1, 2], "y": [3, 4]}).names
        ('x', 'y')
    """
    if callable(getattr(data, "fetch", None)):
        return data  # type: ignore[no-any-return]
    if isinstance(data, dict):
        return ArrayDataset(*data.values(), names=[str(name) for name in data])
    return ArrayDataset(*data) if isinstance(data, (tuple, list)) else ArrayDataset(data)


def read_all(dataset: Dataset) -> Arrays:
    """Return every row of a data set as arrays in memory.

    Example:
        >>> read_all(Subset(ArrayDataset(np.array([5, 6, 7])), [1, 2]))[0].tolist()
        [6, 7]
    """
    return dataset.fetch(np.arange(len(dataset), dtype=np.int64))


def checked_places(rows: Array, count: int) -> Array:
    """Return row numbers of a data set of ``count`` rows, int64; negative ones count from the end.

    Raises:
        DataError: they are not whole numbers or truth values, or lie outside of the data set.

    >>> checked_places(np.array([-1, 0]), 3).tolist()
    [2, 0]
    """
    if rows.dtype == np.bool_ and rows.shape == (count,):
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise DataError(
            f"got rows of shape {rows.shape} and dtype {rows.dtype}, wanted row numbers (m,) or "
            f"truth values ({count},). {where()}"
        )
    places = rows.astype(np.int64)
    wrong = np.flatnonzero((places < -count) | (places >= count))
    if len(wrong):
        raise DataError(
            f"row {int(places[wrong[0]])} does not exist, the data set has {count:,} rows, 0 to "
            f"{count - 1}. {where()}"
        )
    return np.where(places < 0, places + count, places)


def names_of(count: int, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return one name for each of ``count`` arrays: those given, or ``input`` and ``target``.

    Raises:
        DataError: there are not as many names as arrays.

    >>> names_of(2, None)
    ('input', 'target')
    """
    if names is None:
        inputs = ["input"] if count <= 2 else [f"input {i}" for i in range(count - 1)]
        return tuple(inputs if count == 1 else [*inputs, "target"])
    if len(names) != count:
        raise DataError(f"got {len(names)} names for {count} arrays: {list(names)}. {where()}")
    return tuple(names)


def _labels(arrays: Arrays, labels: Any, rows: int) -> Array | None:
    if labels is not None:
        given = np.asarray(labels)
        if given.shape != (rows,):
            raise DataError(
                f"ArrayDataset: labels have shape {given.shape}, wanted one for each of {rows:,} "
                f"rows. {where()}"
            )
        return given
    last = arrays[-1]
    is_class = len(arrays) > 1 and last.ndim == 1 and last.dtype.kind in "iub"
    return last if is_class else None
