"""From a file or folder to a trained network: one task for each kind of data."""

from thalweg.tasks.folder import RunFolder
from thalweg.tasks.run import Run
from thalweg.tasks.series import SeriesTask
from thalweg.tasks.settings import Settings
from thalweg.tasks.table import TableTask
from thalweg.tasks.task import TASKS, Problem, Rows, Task
from thalweg.tasks.training import Trained, train

__all__ = [
    "TASKS", "Problem", "Rows", "Run", "RunFolder", "SeriesTask", "Settings",
    "TableTask", "Task", "Trained",
    "train",
]  # fmt: skip
