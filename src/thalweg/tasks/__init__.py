"""From a file or folder to a trained network: one task for each kind of data."""

from thalweg.tasks.folder import RunFolder
from thalweg.tasks.images import ImagesTask
from thalweg.tasks.language import LanguageTask
from thalweg.tasks.run import Run
from thalweg.tasks.series import SeriesTask
from thalweg.tasks.settings import Settings
from thalweg.tasks.sounds import SoundsTask
from thalweg.tasks.table import TableTask
from thalweg.tasks.task import TASKS, Problem, Rows, Task
from thalweg.tasks.texts import TextsTask
from thalweg.tasks.training import Trained, train

__all__ = [
    "TASKS", "ImagesTask", "LanguageTask", "Problem", "Rows", "Run", "RunFolder", "SeriesTask",
    "Settings", "SoundsTask", "TableTask", "Task", "TextsTask", "Trained", "train",
]  # fmt: skip
