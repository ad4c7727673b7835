"""Which reader a model needs."""

from __future__ import annotations

from pathlib import Path

from thalweg.app.serve.readers.continuations import ContinuationsReader
from thalweg.app.serve.readers.digits import DigitsReader
from thalweg.app.serve.readers.pictures import PicturesReader
from thalweg.app.serve.readers.reader import Reader, TaskReader
from thalweg.app.serve.readers.series import SeriesReader
from thalweg.app.serve.readers.sounds import SoundsReader
from thalweg.app.serve.readers.tables import TablesReader
from thalweg.app.serve.readers.texts import TextsReader
from thalweg.errors import ArgumentError, FormatError, where
from thalweg.tasks import Run
from thalweg.tasks.folder import MODEL, PIPELINE

__all__ = ["READERS", "reader_of"]

READERS: dict[str, type[TaskReader]] = {
    "table": TablesReader, "texts": TextsReader, "images": PicturesReader, "sounds": SoundsReader,
    "series": SeriesReader, "language": ContinuationsReader,
}  # fmt: skip


def reader_of(model: Path) -> Reader:
    """Return the reader for a run folder or a model of digits, with its network.

    Raises:
        FormatError: there is no such model, or it is damaged.
        ArgumentError: the server has no reader for its task.
    """
    if not model.exists():
        raise FormatError(
            f"{str(model)!r} does not exist; give the folder that `thalweg train` wrote. {where()}"
        )
    folder = model if model.is_dir() else model.parent
    if not (folder / PIPELINE).is_file():
        return DigitsReader(folder / MODEL if model.is_dir() else model)
    run = Run.load(model)
    name = run.task.name
    if name not in READERS:
        raise ArgumentError(
            f"a network of the task {name!r} cannot be served yet, only of "
            f"{', '.join(READERS)}; use `thalweg predict`. {where()}"
        )
    return READERS[name](run)
