"""A finished run: its network, used on new data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.errors import DataError, FormatError, ShapeError, ThalwegError, nearest, where
from thalweg.nn import Module
from thalweg.tasks.folder import RunFolder
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import TASKS, Rows, Task
from thalweg.train.evaluation import Evaluator

__all__ = ["Run"]

Array = np.ndarray[Any, Any]


class Run:
    """The network of a run folder, and what it needs to read new data.

    ``folder``, ``task``, ``model``: as they were trained. ``Run.load(place)`` reads them back.
    """

    def __init__(self, folder: RunFolder, task: Task, model: Module) -> None:
        self.folder, self.task, self.model = folder, task, model
        self._evaluator = Evaluator(model, task.transform)

    @classmethod
    def load(cls, place: str | Path) -> Run:
        """Return the run of a folder. No code is read from it.

        Raises:
            FormatError: it is no run folder, is damaged, or of an unknown task.
        """
        folder = RunFolder.existing(Path(place))
        told, arrays = folder.read_pipeline()
        name = str(told.get("task"))
        if name not in TASKS:
            raise FormatError(
                f"{str(place)!r} holds the task {name!r}; {nearest(name, TASKS)}. {where()}"
            )
        try:
            task = TASKS[name](Settings.of(Settings.parse(told["settings"])))
            task.restore(told["facts"], arrays)
        except ThalwegError as error:
            raise FormatError(f"{str(place)!r} is of another version: {error}") from error
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise FormatError(
                f"{str(place)!r}: its pipeline does not fit this version ({error!r}); train again, "
                f"or use the version of Thalweg that made it. {where()}"
            ) from error
        return cls(folder, task, folder.read_model())

    def outputs(self, rows: Rows, batch_size: int = 512) -> Array:
        """Return what the network gives for rows (n, ...).

        Raises:
            FormatError: network and pipeline are of different runs.
        """
        try:
            return self._evaluator.outputs(list(rows.inputs), batch_size=batch_size)
        except (ShapeError, TypeError) as error:
            raise FormatError(
                f"the network in {str(self.folder.place)!r} does not take what its pipeline gives; "
                f"are they of one run? {error}"
            ) from error

    def predict(self, source: Any, batch_size: int = 512) -> dict[str, list[Any]]:
        """Return predictions of a source as columns.

        Raises:
            DataError: the source cannot be read, or lacks what the network needs.
        """
        parts = list(self.predict_blocks(source, batch_size))
        return {name: [v for part in parts for v in part[name]] for name in parts[0]}

    def predict_blocks(self, source: Any, batch_size: int = 512) -> Iterator[dict[str, list[Any]]]:
        """Yield predictions of a source as columns, part by part if it is larger than memory.

        Raises:
            DataError: the source cannot be read, or lacks what the network needs.
        """
        for rows in self.task.blocks(source):
            if not len(rows):
                raise DataError(f"{source} has no rows to predict. {where()}")
            yield self.task.columns_of(rows, self.outputs(rows, batch_size))
