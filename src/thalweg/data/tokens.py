"""Flat files of tokens, larger than memory: windows of them, and the writer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thalweg.data.dataset import Arrays, Source
from thalweg.data.mapped import map_array
from thalweg.errors import DataError, where

__all__ = ["TokenDataset", "write_tokens"]

Array = np.ndarray[Any, Any]


class TokenDataset(Source):
    """Windows of a long row of tokens, and the same windows one token later as the targets.

    ``tokens``: a raw file of whole numbers (its numbers are of ``dtype``), a ``.npy`` file, or an
    array (n,); a file is memory-mapped and only the windows asked for are read. ``length``: of a
    window. ``stride``: from one window to the next, left out ``length``, so that every token is a
    target once an epoch; 1 gives a window at every place. ``vocabulary``: the number of tokens
    known to the model; a token outside of it is then an error.

    Shapes: inputs and targets (batch, length), int32.

    Raises:
        DataError: a file that is missing or is not whole numbers of ``dtype``, fewer than
            ``length`` + 1 tokens; while fetching, a token outside of the vocabulary.

    Example:
        >>> windows = TokenDataset(np.arange(10), length=3)
        >>> inputs, targets = windows.fetch(np.array([0, 2]))
        >>> len(windows), inputs.tolist(), targets.tolist()
        (3, [[0, 1, 2], [6, 7, 8]], [[1, 2, 3], [7, 8, 9]])
    """

    names = ("tokens", "next tokens")

    def __init__(
        self,
        tokens: str | os.PathLike[str] | Array,
        length: int,
        *,
        dtype: npt.DTypeLike = np.uint16,
        stride: int | None = None,
        vocabulary: int | None = None,
    ) -> None:
        self.path = None if isinstance(tokens, np.ndarray) else Path(tokens)
        self.tokens = tokens if isinstance(tokens, np.ndarray) else _mapped(Path(tokens), dtype)
        self.length, self.stride = int(length), int(stride or length)
        self.vocabulary = vocabulary
        name = self.path or "the array"
        if self.tokens.ndim != 1 or self.tokens.dtype.kind not in "iu":
            raise DataError(
                f"TokenDataset: {name} has shape {self.tokens.shape} and dtype "
                f"{self.tokens.dtype}, wanted one row of whole numbers (n,). {where()}"
            )
        if self.length < 1 or self.stride < 1 or len(self.tokens) <= self.length:
            raise DataError(
                f"TokenDataset: {name} holds {len(self.tokens):,} tokens, and windows of length "
                f"{length} with stride {self.stride} are wanted; a window takes length + 1 tokens, "
                f"and both are 1 or more. {where()}"
            )

    def __len__(self) -> int:
        return (len(self.tokens) - 1 - self.length) // self.stride + 1

    def fetch(self, rows: Array) -> Arrays:
        """Return the windows of these numbers, and the windows one token later.

        Raises:
            DataError: a token outside of the vocabulary, with its place in the file.
        """
        starts = np.asarray(rows, np.int64) * self.stride
        places = starts[:, None] + np.arange(self.length + 1)  # (batch, length + 1)
        found = self.tokens[places]
        if self.vocabulary is not None and found.size:
            self._check(found, places)
        whole = found.astype(np.int32)
        return np.ascontiguousarray(whole[:, :-1]), np.ascontiguousarray(whole[:, 1:])

    def describe(self, row: int) -> str:
        """Say which tokens of which file a window holds."""
        start = int(row) * self.stride
        return f"{self.path or 'tokens'}: tokens {start:,} to {start + self.length:,}"

    def _check(self, found: Array, places: Array) -> None:
        assert self.vocabulary is not None
        wrong = (found < 0) | (found >= self.vocabulary)
        if wrong.any():
            raise DataError(
                f"{self.path or 'tokens'}: token {int(places[wrong][0]):,} is "
                f"{int(found[wrong][0])}, outside of the vocabulary of {self.vocabulary:,} (0 to "
                f"{self.vocabulary - 1}); tokenise again with the same vocabulary, or give the "
                f"right dtype of the file. {where()}"
            )


def write_tokens(
    path: str | os.PathLike[str],
    parts: Iterable[npt.ArrayLike],
    dtype: npt.DTypeLike = np.uint16,
) -> int:
    """Write tokens to a flat file, part after part, and return how many there are.

    The file takes its name only when it is whole, so that a failure leaves none half written.

    Raises:
        DataError: a part is not whole numbers, or a number does not fit the dtype.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/text.bin"
        >>> write_tokens(file, [[1, 2], [3, 4, 5]])
        5
        >>> TokenDataset(file, length=2).fetch(np.array([1]))[0].tolist()
        [[3, 4]]
    """
    kind, count = np.dtype(dtype), 0
    if kind.kind not in "iu":
        raise DataError(f"write_tokens: dtype is {kind}, wanted whole numbers. {where()}")
    limits, target = np.iinfo(kind), Path(path)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            for number, part in enumerate(parts):
                tokens = np.atleast_1d(np.asarray(part))
                if tokens.size and tokens.dtype.kind not in "iu":
                    raise DataError(
                        f"write_tokens: part {number} is of dtype {tokens.dtype}, wanted whole "
                        f"numbers. {where()}"
                    )
                if tokens.size and (tokens.min() < limits.min or tokens.max() > limits.max):
                    raise DataError(
                        f"write_tokens: part {number} holds numbers from {tokens.min()} to "
                        f"{tokens.max()}, which {kind} does not hold; give dtype=np.uint32. "
                        f"{where()}"
                    )
                file.write(tokens.astype(kind).tobytes())
                count += tokens.size
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _mapped(path: Path, dtype: npt.DTypeLike) -> Array:
    """Return the whole numbers of a file, mapped."""
    if path.suffix == ".npy":
        return map_array(path)
    kind = np.dtype(dtype)
    try:
        size = path.stat().st_size
        if not size or size % kind.itemsize:
            raise DataError(
                f"TokenDataset: {path} has {size:,} bytes, which is not a whole number of {kind} "
                f"tokens ({kind.itemsize} bytes each); give the dtype it was written with. "
                f"{where()}"
            )
        return np.asarray(np.memmap(path, kind, "r"))
    except OSError as error:
        raise DataError(
            f"TokenDataset: {path} cannot be read ({error.strerror}); write it with write_tokens, "
            f"or check its path. {where()}"
        ) from error
