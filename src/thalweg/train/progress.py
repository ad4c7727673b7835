"""Progress of a training run: a bar at a terminal, one line an epoch elsewhere."""

from __future__ import annotations

from typing import Any

from thalweg.train.events import Events, Run
from thalweg.train.verdict import VALIDATION

__all__ = ["Progress", "epoch_line"]


def epoch_line(run: Run) -> str:
    """Return loss, metrics and speed of an epoch on one line.

    >>> from thalweg.train.events import History
    >>> run = Run(None, None, History(), epochs=5, steps=10, batch_size=32, epoch=2)
    >>> run.current = {"loss": 0.25, "validation_loss": 0.5}
    >>> epoch_line(run)
    'epoch 2/5  loss 0.2500  validation loss 0.5000'
    """
    width = len(str(run.epochs))
    parts = [f"epoch {run.epoch:>{width}}/{run.epochs}", *_values(run.current)]
    if run.examples_per_second:
        parts.append(f"{run.examples_per_second:,.0f} examples/s")
    return "  ".join(parts)


def _values(current: dict[str, float]) -> list[str]:
    return [f"{name.replace('_', ' ')} {_short(value)}" for name, value in current.items()]


def _short(value: float) -> str:
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"


def _time(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Progress(Events):
    """Shows loss, metrics, examples per second and time left while a model trains.

    Args:
        console: a ``rich.console.Console``; left out, one on standard error. If it is a terminal,
            a bar moves below one line for each epoch, else there are the lines alone.

    >>> Progress().on_epoch_end.__name__
    'on_epoch_end'
    """

    tells_findings = True

    def __init__(self, console: Any = None) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None

    def on_fit_start(self, run: Run) -> None:
        """Open the bar if there is a terminal."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True)
        if not self._console.is_terminal:
            return
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=None),
            TextColumn("{task.fields[values]}"), console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=run.steps, epoch=f"1/{run.epochs}",
                                        values="compiling")  # fmt: skip
        self._bar.start()

    def on_steps(self, run: Run) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        shown = {k: v for k, v in run.current.items() if not k.startswith(VALIDATION)}
        values = _values(shown)
        if run.examples_per_second:
            values.append(f"{run.examples_per_second:,.0f} examples/s")
            values.append(f"{_time(run.seconds_left)} left")
        self._bar.update(self._task, completed=run.step, epoch=f"{run.epoch}/{run.epochs}",
                         values="  ".join(values))  # fmt: skip

    def on_epoch_end(self, run: Run) -> None:
        """Write the epoch's line, and what looks wrong."""
        self._write(epoch_line(run))
        for finding in run.history.findings:
            if finding["epoch"] == run.epoch:
                self._write(f"noticed: {finding['text']}")

    def on_fit_end(self, run: Run) -> None:
        """Close the bar, and say how the run ended if not as planned."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if run.note:
            self._write(run.note)

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
