"""Logs of a training run: JSON lines, CSV, TensorBoard event files and MLflow."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.errors import ArgumentError, where
from thalweg.formats.atomic import write_whole
from thalweg.train.events import Events, Run

__all__ = ["CSVLog", "JSONLinesLog", "MLflowLog", "TensorBoardLog"]

PathLike = str | os.PathLike[str]


def _numbers(run: Run) -> dict[str, float]:
    """Return what an epoch measured, with the learning rate that its last step had."""
    seconds = run.history.metrics.get("seconds", [])
    told = {**run.current, "learning_rate": run.optimizer.learning_rate}
    return {**told, "seconds": seconds[-1]} if seconds else told


class JSONLinesLog(Events):
    """Writes one JSON object a line: one for each epoch, and one at the end of the run.

    A run that is resumed goes on in the same file; epochs that it trains again are not told twice.

    Args:
        path: of the file; an older one is replaced unless the run is resumed.

    >>> import tempfile
    >>> log = JSONLinesLog(tempfile.mkdtemp() + "/log.jsonl")
    >>> log.path.name
    'log.jsonl'
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)

    def on_fit_start(self, run: Run) -> None:
        """Begin the file, or keep of an older one what the run goes on from."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(self.path) if _of_before(line, run)] if run.resumed else []
        write_whole(self.path, [line.encode() + b"\n" for line in kept])

    def on_epoch_end(self, run: Run) -> None:
        """Add the epoch's line."""
        self._add({"epoch": run.epoch, "step": run.epoch * run.steps, **_numbers(run)})

    def on_fit_end(self, run: Run) -> None:
        """Add how the run ended."""
        history = run.history
        self._add({
            "end": run.note or "finished", "best_epoch": history.best_epoch,
            "interrupted": history.interrupted, "stopped_early": history.stopped_early,
            "findings": history.findings, "seconds": history.seconds,
        })  # fmt: skip

    def _add(self, entry: Mapping[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _of_before(line: str, run: Run) -> bool:
    """Return whether a line tells of an epoch that a resumed run does not train again."""
    try:
        entry = json.loads(line)
    except ValueError:  # cut in half when the run was killed
        return False
    return isinstance(entry, dict) and 0 < entry.get("epoch", 0) <= len(run.history)


class CSVLog(Events):
    """Writes a table with one row for each epoch; a resumed run goes on in the same file.

    Args:
        path: of the file; an older one is replaced unless the run is resumed.

    >>> import tempfile
    >>> CSVLog(tempfile.mkdtemp() + "/log.csv").path.suffix
    '.csv'
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._columns: list[str] = []

    def on_fit_start(self, run: Run) -> None:
        """Begin the file, or keep of an older one what the run goes on from."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = list(csv.reader(_lines(self.path))) if run.resumed else []
        self._columns = rows[0] if rows else []
        kept = [r for r in rows[1:] if len(r) == len(rows[0]) and _number(r[0], len(run.history))]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows[:1], *kept])
        write_whole(self.path, [text.getvalue().encode()])

    def on_epoch_end(self, run: Run) -> None:
        """Add the epoch's row, and before the first one the head."""
        entry = {"epoch": run.epoch, **_numbers(run)}
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not self._columns:
                self._columns = list(entry)
                writer.writerow(self._columns)
            writer.writerow([entry.get(name, "") for name in self._columns])


def _number(text: str, most: int) -> bool:
    return text.isdecimal() and 0 < int(text) <= most


class TensorBoardLog(Events):
    """Writes event files that TensorBoard shows (``pip install 'thalweg[logs]'``).

    Loss and metrics of training and validation of each epoch, and the learning rate, by the number
    of the epoch; with ``every_call`` also the loss while an epoch goes on, by the number of steps.

    Args:
        folder: where the event files go.
        every_call: whether to tell of an epoch's middle, about ten times a second.

    >>> TensorBoardLog("runs/digits").folder
    'runs/digits'
    """

    def __init__(self, folder: PathLike, every_call: bool = False) -> None:
        self.folder, self.every_call = os.fspath(folder), every_call
        self._writer: Any = None

    def on_fit_start(self, run: Run) -> None:
        """Open an event file.

        Raises:
            ArgumentError: the package tensorboardX is missing.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ArgumentError(
                f"TensorBoardLog needs the package tensorboardX: pip install 'thalweg[logs]'. "
                f"{where()}"
            ) from error
        # Of epochs that are trained again TensorBoard shows the newer ones from there on.
        again = {"purge_step": len(run.history) + 1} if run.resumed else {}
        self._writer = SummaryWriter(self.folder, **again)

    def on_steps(self, run: Run) -> None:
        """Write the mean loss of the epoch so far."""
        if self.every_call:
            step = (run.epoch - 1) * run.steps + run.step
            self._writer.add_scalar("steps/loss", run.current["loss"], step)

    def on_epoch_end(self, run: Run) -> None:
        """Write the epoch's numbers."""
        for name, value in _numbers(run).items():
            self._writer.add_scalar(name, value, run.epoch)

    def on_fit_end(self, run: Run) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class MLflowLog(Events):
    """Tells an MLflow server of the run (``pip install mlflow``): parameters and metrics.

    Args:
        experiment: its name; left out, MLflow's own choice.
        parameters: what to note beside batch size, epochs and optimiser.

    >>> MLflowLog("digits").experiment
    'digits'
    """

    def __init__(
        self, experiment: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> None:
        self.experiment, self.parameters = experiment, dict(parameters or {})
        self._mlflow: Any = None
        self._run_id = ""

    def on_fit_start(self, run: Run) -> None:
        """Begin a run of MLflow, or go on with the one of the checkpoint.

        Raises:
            ArgumentError: the package mlflow is missing.
        """
        try:
            mlflow: Any = importlib.import_module("mlflow")
        except ImportError as error:
            raise ArgumentError(
                f"MLflowLog needs the package mlflow: pip install mlflow. {where()}"
            ) from error
        self._mlflow = mlflow
        if self.experiment is not None:
            mlflow.set_experiment(self.experiment)
        known = self._run_id if run.resumed else ""
        begun = mlflow.start_run(run_id=known) if known else mlflow.start_run()
        self._run_id = begun.info.run_id
        if not known:
            mlflow.log_params({"optimizer": repr(run.optimizer), "epochs": run.epochs,
                               "batch_size": run.batch_size, **self.parameters})  # fmt: skip

    def on_epoch_end(self, run: Run) -> None:
        """Send the epoch's numbers."""
        self._mlflow.log_metrics(_numbers(run), step=run.epoch)

    def on_fit_end(self, run: Run) -> None:
        """End the run of MLflow."""
        if self._mlflow is not None:
            self._mlflow.end_run("KILLED" if run.history.interrupted else "FINISHED")

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the run of MLflow."""
        return {"run_id": self._run_id}

    def load_state_dict(self, given: dict[str, Any]) -> None:
        """Go on with the run of MLflow that a checkpoint tells of."""
        self._run_id = str(given["run_id"])
