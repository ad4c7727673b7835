"""What a training run tells: its history, and the events that others may listen to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from thalweg.errors import ArgumentError, nearest, where
from thalweg.train.metrics import higher_is_better
from thalweg.train.verdict import VALIDATION, Verdict, judge

__all__ = ["Events", "History", "Run"]



@dataclass
class History:
    """What happened in a training run, epoch by epoch.

    ``metrics``: for each name one number an epoch: ``"loss"`` and the metrics as means over the
    epoch's batches while training went on (dropout on, weights moving), the same names with
    ``validation_`` before them as measured after the epoch, and ``"seconds"``. ``monitor``: the
    metric that decides which epoch is best, ``higher_is_better`` whether the largest is (None: what
    its name says). ``interrupted``: Ctrl-C ended the run.
    ``stopped_early``: the monitor did not get better any more. ``restored``: the model has the
    weights of the best epoch, not of the last one.
    ``findings``: what looked wrong on the way, dicts with ``epoch``, ``kind`` and ``text``.

    >>> history = History({"loss": [2.0, 1.0, 1.5]}, monitor="loss")
    >>> history.best_epoch, history["loss"][-1]
    (2, 1.5)
    """

    metrics: dict[str, list[float]] = field(default_factory=dict)
    monitor: str = "loss"
    interrupted: bool = False
    stopped_early: bool = False
    restored: bool = False
    seconds: float = 0.0
    higher_is_better: bool | None = None
    findings: list[dict[str, Any]] = field(default_factory=list)

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.metrics:
            raise ArgumentError(
                f"the history has no {name!r}; {nearest(name, self.metrics)}. {where()}"
            )
        return self.metrics[name]

    def __len__(self) -> int:
        return max((len(values) for values in self.metrics.values()), default=0)

    @property
    def best_epoch(self) -> int | None:
        """Number of the epoch, from 1, with the best monitored metric; the first of equals.

        None if no epoch was finished.
        """
        values = self.metrics.get(self.monitor)
        if not values:
            return None
        higher = self.higher_is_better
        if higher is None:
            higher = higher_is_better(self.monitor.removeprefix(VALIDATION))
        best = max(values) if higher else min(values)
        return values.index(best) + 1

    def add(self, values: dict[str, float]) -> None:
        """Add the numbers of one epoch."""
        for name, value in values.items():
            self.metrics.setdefault(name, []).append(float(value))

    def verdict(self) -> Verdict:
        """Return what the curves say: overfitting, underfitting, diverging, and what to try.

        >>> history = History({"loss": [1.0, 0.5, 0.2, 0.1, 0.05],
        ...                    "validation_loss": [1.1, 0.8, 0.9, 1.1, 1.3]})
        >>> history.verdict().kind, history.verdict().since
        ('overfitting', 2)
        """
        return judge(self.metrics, self.findings)

    def to_json(self) -> str:
        """Return the history as JSON text.

        >>> History.from_json(History({"loss": [1.0]}).to_json())["loss"]
        [1.0]
        """
        return json.dumps({**asdict(self), "best_epoch": self.best_epoch}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> History:
        """Return the history that ``to_json`` wrote."""
        told = json.loads(text)
        return cls(**{k: v for k, v in told.items() if k in cls.__dataclass_fields__})


@dataclass
class Run:
    """A training run as its listeners see it.

    ``epoch`` and ``step`` count from 1 and tell what was finished last; ``steps`` are those of one
    epoch. ``current``: means of loss and metrics over the epoch so far; after the epoch also the
    validation metrics. ``examples_per_second`` and ``seconds_left`` are 0 until they are known.
    ``note``: a sentence on how the run ended, if not as planned. ``resumed``: it goes on from a
    checkpoint; ``epoch`` and ``step`` tell at its start where that is.
    """

    model: Any
    optimizer: Any
    history: History
    epochs: int
    steps: int
    batch_size: int
    epoch: int = 0
    step: int = 0
    current: dict[str, float] = field(default_factory=dict)
    examples_per_second: float = 0.0
    seconds_left: float = 0.0
    stopping: bool = False
    note: str = ""
    resumed: bool = False

    def stop(self) -> None:
        """Ask the run to end after the steps that are under way."""
        self.stopping = True


class Events:
    """Base class of listeners: override what you want to hear.

    A listener may read everything in ``run``, and end the run with ``run.stop()``.

    >>> class StopAtOnce(Events):
    ...     def on_epoch_end(self, run):
    ...         run.stop()

    ``tells_findings``: the listener shows ``run.history.findings``; else they are logged.
    """

    tells_findings: bool = False

    def on_fit_start(self, run: Run) -> None:
        """Before the first step."""

    def on_steps(self, run: Run) -> None:
        """After some steps of an epoch, about ten times a second."""

    def on_epoch_end(self, run: Run) -> None:
        """After an epoch and its validation."""

    def on_fit_end(self, run: Run) -> None:
        """After the last step, however the run ended; the model is in its final state."""

    def state_dict(self) -> dict[str, Any] | None:
        """Return what a checkpoint should hold of the listener, as JSON can; None for nothing."""
        return None

    def load_state_dict(self, given: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned, when a run is resumed."""
