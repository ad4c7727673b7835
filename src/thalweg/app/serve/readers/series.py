"""Time series: the last steps as rows, for a run folder of the task ``series``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from thalweg.app.serve.readers.reader import TaskReader, finite, plain
from thalweg.app.serve.readers.tables import TablesReader
from thalweg.tasks import Run

__all__ = ["SeriesReader"]

Array = np.ndarray[Any, Any]


class SeriesReader(TablesReader):
    """The last steps of a series for a run folder; the answer has a row for each step ahead.

    All rows of a request are one sample: what the network reads is a window of several steps.
    """

    one: ClassVar[str] = ""
    whole: ClassVar[bool] = True

    def __init__(self, run: Run) -> None:
        TaskReader.__init__(self, run)
        task: Any = run.task
        self.learned = task.learned
        self.fewest = int(task.learned.length)
        self._take(task.learned.layout.schema, set())

    def example(self) -> Any:
        """Return as many rows as the network reads, each with the mean of its columns."""
        told, layout = self.learned, self.learned.layout
        steps = np.arange(told.length)
        dates = told.frequency.told(steps, layout.date_format)
        made = []
        for i in range(told.length):
            row = dict(zip(layout.columns, told.mean.astype(float).tolist(), strict=True))
            if layout.time is not None:
                date = plain(dates[i])
                row[layout.time] = date if isinstance(date, (int, float, str)) else str(date)
            if layout.group is not None:
                row[layout.group] = "a"
            made.append({name: row[name] for name in self.schemas})
        return made

    def predict(
        self, samples: Sequence[Any], run: Callable[[tuple[Array, ...]], Array]
    ) -> list[Any]:
        """Return the forecast of each sample: a list of rows, one a step."""
        made = []
        task: Any = self.task
        for sample in samples:
            rows = task.read(self.table(sample))
            columns = task.columns_of(rows, run(rows.inputs))
            told = [[_plain(value) for value in column] for column in columns.values()]
            made.append([dict(zip(columns, row, strict=True)) for row in zip(*told, strict=True)])
        return made

    def inputs(self, samples: Sequence[Any]) -> tuple[Array, ...]:
        """Return the window of the first sample."""
        return self.task.read(self.table(samples[0])).inputs

    def notes(self, samples: Sequence[Any]) -> list[str]:
        """Return nothing: gaps and double dates are mended as in training."""
        return []

    def schema(self) -> dict[str, Any]:
        """Return the schema of a row."""
        return super().schema() | {
            "description": f"One step; a request has the last {self.learned.length} steps or more "
            "of each series, without long gaps."
        }

    def answer_schema(self) -> dict[str, Any]:
        """Return the schema of a step of the forecast."""
        number = {"type": ["number", "null"]}
        return {"type": "object", "required": list(self.task.targets),
                "properties": dict.fromkeys(self.task.targets, number)}  # fmt: skip


def _plain(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, float):
        return finite(value)
    return value if isinstance(value, (int, str)) or value is None else str(value)
