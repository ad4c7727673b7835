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

__all__ = ["ArrayWriter", "MappedDataset", "map_array"]

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


class ArrayWriter:
    """Arrays that grow on disk, row by row, and are mapped when they are whole.

    ``folder``: where their files lie, one each; it is made if it is missing.

    Shapes: (n, ...) each time, of the same n for all; all times of the same shapes after n.

    Raises:
        DataError: the folder cannot be made.

    Example:
        >>> import tempfile
        >>> writer = ArrayWriter(tempfile.mkdtemp())
        >>> writer.add(np.array([1.0, 2.0]), np.array([[1], [0]]))
        >>> writer.add(np.array([3.0]), np.array([[1]]))
        >>> [array.tolist() for array in writer.arrays()]
        [[1.0, 2.0, 3.0], [[1], [0], [1]]]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.rows = 0
        self._forms: list[tuple[tuple[int, ...], Any]] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"the folder {self.folder} cannot be made ({error.strerror}). {where()}"
            ) from error

    def add(self, *arrays: Array) -> None:
        """Append the rows of some arrays.

        Raises:
            DataError: other shapes than before, or the disk is full.
        """
        count = checked_rows(arrays, "ArrayWriter")
        forms = [(a.shape[1:], a.dtype) for a in arrays]
        if self.rows and forms != self._forms:
            raise DataError(
                f"ArrayWriter: got rows of {forms}, those before are {self._forms}. {where()}"
            )
        try:
            for place, array in enumerate(arrays):
                with open(self._file(place), "ab" if self.rows else "wb") as file:
                    file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            raise DataError(
                f"the rows cannot be kept in {self.folder} ({error.strerror}); free some space, or "
                f"choose a folder on another disk. {where()}"
            ) from error
        self.rows, self._forms = self.rows + count, forms

    def arrays(self) -> Arrays:
        """Return the arrays, mapped and read-only.

        Raises:
            DataError: nothing was added.
        """
        if not self.rows:
            raise DataError(f"ArrayWriter: no rows were added. {where()}")
        return tuple(
            np.memmap(self._file(place), dtype, "r", shape=(self.rows, *shape))
            for place, (shape, dtype) in enumerate(self._forms)
        )

    def _file(self, place: int) -> Path:
        return self.folder / f"rows-{place}.bin"
