"""The network of a server: compiled for a few batch sizes before the first request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.app.serve.readers.reader import Reader
from thalweg.tensor.compile import compile
from thalweg.train.evaluation import run_model

__all__ = ["Predictor"]

Array = np.ndarray[Any, Any]


class Predictor:
    """Predictions of samples, by programs for a few batch sizes; others are filled up.

    ``sizes``: rows of each program, ascending. One thread at a time may call it.
    """

    def __init__(self, reader: Reader, sizes: Sequence[int]) -> None:
        self.reader, self.model, self.sizes = reader, reader.model.eval(), tuple(sizes)
        # A function of its own for each size: a compiled function is quickest with one signature.
        self._programs = {size: compile(self._forward(reader.transform)) for size in self.sizes}

    @staticmethod
    def _forward(transform: Any) -> Any:
        def forward(model: Any, *inputs: Any) -> Any:
            return run_model(model, inputs, transform)

        return forward

    def warm(self) -> None:
        """Compile all programs, and run each once."""
        reader = self.reader
        example = reader.example()
        whole = [reader.parse(row, i) for i, row in enumerate(example)] if reader.whole else None
        sample = reader.parse(example, 0) if whole is None else whole
        one = reader.inputs([sample])
        for size in self.sizes if one else ():  # else the reader runs the network in its own way
            self._run(tuple(np.repeat(x[:1], size, axis=0) for x in one))
        self([sample])

    def __call__(self, samples: Sequence[Any]) -> list[Any]:
        """Return what JSON can hold for each sample.

        Raises:
            ThalwegError: a sample that the network cannot take.
        """
        return self.reader.predict(samples, self._run)

    def _run(self, inputs: tuple[Array, ...]) -> Array:
        rows, most = len(inputs[0]), self.sizes[-1]
        if rows <= most:
            return self._padded(inputs, rows)
        parts = [
            self._padded(tuple(x[start : start + most] for x in inputs), min(most, rows - start))
            for start in range(0, rows, most)
        ]
        return np.concatenate(parts)

    def _padded(self, inputs: tuple[Array, ...], rows: int) -> Array:
        size = next(s for s in self.sizes if s >= rows)
        if size > rows:
            inputs = tuple(
                np.concatenate([x, np.repeat(x[:1], size - rows, axis=0)]) for x in inputs
            )
        return np.asarray(self._programs[size](self.model, *inputs))[:rows]
