"""The folder of a training run: one run at a time, checkpoints written beside the training."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from thalweg.errors import ArgumentError, FormatError, ThalwegError, where
from thalweg.formats.atomic import check_writable
from thalweg.formats.checkpoint import (
    Checkpoint,
    checkpoint_name,
    find_checkpoints,
    read_checkpoint,
    write_checkpoint,
)

__all__ = ["CheckpointFolder", "CheckpointWarning", "Every", "newest_checkpoint"]

Array = np.ndarray[Any, Any]
_LEFT_BEHIND: Final = re.compile(r"\..{8}\.safetensors")  # what a killed writer leaves
_UNITS: Final = {"epoch": "epochs", "step": "steps", "second": "seconds", "minute": "minutes",
                 "hour": "hours"}  # fmt: skip
_SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600}


class CheckpointWarning(UserWarning):
    """A checkpoint that could not be written or read; nothing that was saved before is lost."""


class Every:
    """How often a checkpoint is written: every so many epochs, steps, seconds, minutes or hours.

    Raises:
        ArgumentError: not a whole number of epochs, nor text such as ``"500 steps"``.

    >>> Every(2).epochs, Every("500 steps").steps, Every("10 minutes").seconds
    (2, 500, 600.0)
    """

    def __init__(self, given: Any) -> None:
        self.epochs, self.steps, self.seconds = 0, 0, 0.0
        count, unit = given, "epochs"
        if isinstance(given, str):
            found = re.fullmatch(r"\s*(\d+)\s*([a-z]+)\s*", given)
            unit = _UNITS.get(found[2].removesuffix("s"), "") if found else ""
            count = int(found[1]) if found else 0
        whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
        if not whole or count < 1 or not unit:
            raise ArgumentError(
                f"fit: checkpoint_every is {given!r}, wanted a whole number of epochs from 1, or "
                f"text such as '500 steps' or '10 minutes'. {where()}"
            )
        if unit == "epochs":
            self.epochs = int(count)
        elif unit == "steps":
            self.steps = int(count)
        else:
            self.seconds = float(count * _SECONDS[unit])


class CheckpointFolder:
    """Holds a folder for one run, and writes its checkpoints in a thread of its own.

    Args:
        folder: made if it is missing.
        keep: how many of the newest checkpoints stay; the best one stays besides.

    A checkpoint that is asked for while one is being written waits; if another is asked for, the
    newer one takes its place, so that a slow disk never holds up the training.

    Raises:
        FormatError: the folder cannot be written to, or another run is using it.

    >>> import tempfile
    >>> folder = CheckpointFolder(tempfile.mkdtemp(), keep=1)
    >>> for step in (1, 2):
    ...     folder.save(step, {"x": np.zeros(2)}, {})
    ...     folder.wait()
    >>> [step for step, _ in find_checkpoints(folder.place)]
    [2]
    >>> folder.close()
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3) -> None:
        given: Any = keep
        if not isinstance(given, (int, np.integer)) or isinstance(given, bool) or given < 1:
            raise ArgumentError(
                f"fit: keep is {keep!r}, wanted a whole number of checkpoints from 1. {where()}"
            )
        self.place = check_writable(folder)
        self.keep = int(keep)
        self._lock = _lock(self.place)
        for name in os.listdir(self.place):
            if _LEFT_BEHIND.fullmatch(name):  # nobody else writes here: the lock is ours
                (self.place / name).unlink(missing_ok=True)
        self._change = threading.Condition()
        self._waiting: tuple[int, Mapping[str, Array], dict[str, Any], int | None] | None = None
        self._busy = self._closed = False
        self._failed = ""
        self._thread: threading.Thread | None = None

    def save(
        self, step: int, arrays: Mapping[str, Array], facts: dict[str, Any],
        best: int | None = None,
    ) -> None:  # fmt: skip
        """Have a checkpoint written; the arrays must not change any more.

        ``best``: the step whose checkpoint is not to be removed. What went wrong with the one
        before is told here, as a ``CheckpointWarning``.
        """
        self.tell()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
            self._thread.start()
        with self._change:
            self._waiting = (step, arrays, facts, best)
            self._change.notify_all()

    def wait(self) -> None:
        """Return when everything that was handed in is on the disk, or has failed."""
        with self._change:
            self._change.wait_for(lambda: self._waiting is None and not self._busy)
        self.tell()

    def tell(self) -> None:
        """Warn of a checkpoint that could not be written."""
        with self._change:
            failed, self._failed = self._failed, ""
        if failed:
            warnings.warn(failed, CheckpointWarning, stacklevel=4)

    def close(self) -> None:
        """Write what waits, and let the folder go."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._lock.close()  # which unlocks it
        self.tell()

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting is not None or self._closed)
                if self._waiting is None:
                    return
                (step, arrays, facts, best), self._waiting = self._waiting, None
                self._busy = True
            try:
                write_checkpoint(self.place / checkpoint_name(step), arrays, facts)
                self._remove_old(best)
            except (OSError, ThalwegError) as error:
                self._note(step, error)
            finally:
                del arrays, facts
                with self._change:
                    self._busy = False
                    self._change.notify_all()

    def _note(self, step: int, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        try:
            saved = find_checkpoints(self.place)
        except OSError:
            saved = []
        kept = f"the newest that is safe is {saved[0][1].name}" if saved else "none is saved yet"
        with self._change:
            self._failed = (
                f"the checkpoint of step {step} could not be written to {str(self.place)!r}: "
                f"{reason}. Training goes on; {kept}. Make room, or stop and give another folder."
            )

    def _remove_old(self, best: int | None) -> None:
        for step, path in find_checkpoints(self.place)[self.keep :]:
            if step != best:
                path.unlink(missing_ok=True)


def _lock(folder: Path) -> IO[str]:
    """Return the folder's lock file, locked until it is closed or the process ends."""
    # "a+": a second run must not empty the file before it has read who holds it.
    file = open(folder / "lock", "a+", encoding="utf-8")  # noqa: SIM115
    try:
        import fcntl
    except ImportError:  # not on this system: two runs in one folder go unnoticed
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise FormatError(
            f"another run is writing to the folder {str(folder)!r} (process {holder}). Wait for "
            f"it, end it, or give another folder. {where()}"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def newest_checkpoint(
    place: str | os.PathLike[str], judge: Callable[[Checkpoint], None] | None = None
) -> Checkpoint | None:
    """Return the newest checkpoint of a folder that is whole; or the one at a path.

    Of a folder a damaged checkpoint is left out with a ``CheckpointWarning``, and the one before
    it is taken. ``judge`` may raise for one that does not fit; that is not passed over.

    Raises:
        FormatError: all are damaged, or the file at the path is.

    >>> import tempfile
    >>> newest_checkpoint(tempfile.mkdtemp()) is None
    True
    """
    path = Path(place)
    if path.is_file() or (path.suffix == ".safetensors" and not path.is_dir()):
        one = read_checkpoint(path)
        if judge is not None:
            judge(one)
        return one
    found = find_checkpoints(path)
    errors: list[str] = []
    for _, candidate in found:
        try:
            checkpoint = read_checkpoint(candidate)
        except FormatError as error:
            errors.append(str(error))
            continue
        if errors:
            warnings.warn(
                f"{' '.join(errors)} Going on from the one before, {candidate.name}.",
                CheckpointWarning, stacklevel=4,
            )  # fmt: skip
        if judge is not None:
            judge(checkpoint)
        return checkpoint
    if errors:
        raise FormatError(
            f"every checkpoint in {str(path)!r} is damaged: {' '.join(errors)} Start anew in "
            f"another folder. {where()}"
        )
    return None
