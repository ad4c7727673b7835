"""Arrays in files that stay on disk: memory-mapped, so that they may be larger than memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.data.batches import checked_rows
from thalweg.data.dataset import Arrays, Source, gather, names_of
from thalweg.errors import DataError, where

__all__ = ["MappedDataset", "map_array"]

Array = np.ndarray[Any, Any]
_SMALL = 1 << 26  # labels up to 64 MB are read whole, larger ones stay on disk


class MappedDataset(Source):
    """Arrays of ``.npy`` files, one a file, inputs first and targets last; only rows are read.

    ``files``: paths of ``.npy`` files, or arrays that are mapped already (``np.memmap``).
    ``names``: one for each; left out, those of the files. ``labels``: classes (n,).

    Shapes: files (n, ...) to batches (size, ...).

    Raises:
        DataError: a file is missing, is no ``.npy`` file, is cut off or holds Python objects, or
            the files have several lengths.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> np.save(f"{folder}/x.npy", np.arange(6.0).reshape(3, 2))
        >>> samples = MappedDataset(f"{folder}/x.npy")
        >>> samples.names, samples.fetch(np.array([2]))[0].tolist()
        (('x',), [[4.0, 5.0]])
    """

    def __init__(
        self,
        *files: str | os.PathLike[str] | Array,
        names: Sequence[str] | None = None,
        labels: Any = None,
    ) -> None:
        self.paths = [None if isinstance(f, np.ndarray) else Path(f) for f in files]
        self.arrays: Arrays = tuple(
            np.asarray(f) if isinstance(f, np.ndarray) else map_array(f) for f in files
        )
        self.rows = checked_rows(self.arrays, "MappedDataset")
        if names is None and all(self.paths):
            names = [path.stem for path in self.paths if path]
        self.names = names_of(len(self.arrays), names)
        self.labels = self._labels(labels)

    def __len__(self) -> int:
        return self.rows

    def fetch(self, rows: Array) -> Arrays:
        """Return the arrays of these rows, read from the files."""
        return tuple(gather(array, rows) for array in self.arrays)

    def describe(self, row: int) -> str:
        """Say which row of which file it is."""
        file = self.paths[0]
        return f"row {int(row)}" if file is None else f"{file}: row {int(row)}"

    def _labels(self, labels: Any) -> Array | None:
        last = self.arrays[-1]
        if labels is not None:
            checked_rows((labels, self.arrays[0]), "MappedDataset: labels")
            return np.asarray(labels)
        is_class = len(self.arrays) > 1 and last.ndim == 1 and last.dtype.kind in "iub"
        return np.array(last) if is_class and last.nbytes <= _SMALL else None


def map_array(path: str | os.PathLike[str]) -> Array:
    """Return the array of a ``.npy`` file, mapped and read-only.

    Raises:
        DataError: the file is missing, is no ``.npy`` file, is cut off or holds Python objects.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/x.npy"
        >>> np.save(file, np.arange(3))
        >>> map_array(file).tolist()
        [0, 1, 2]
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise DataError(
            f"the file {Path(path)} does not exist; check its path. {where()}"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{Path(path)} is no .npy file that can be mapped ({error}); it may be cut off, empty, "
            f"of another format, or hold Python objects. Write it again with np.save. {where()}"
        ) from error
