"""What each kind of data has to say: how it is read, split, learned and told again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from thalweg.errors import ArgumentError, DataError, nearest, where
from thalweg.nn import Module
from thalweg.tasks.settings import Settings

__all__ = ["TASKS", "Problem", "Rows", "Task", "unwrapped"]

Array = np.ndarray[Any, Any]
Kind = Literal["classes", "numbers", "tokens"]


@dataclass(frozen=True)
class Rows:
    """Samples as a network takes them, and as people know them.

    ``inputs``: arrays (n, ...). ``truth``: the targets (n,) or (n, ...) as the network learns them,
    or None. ``place``: where a row came from, in words. ``show``: what a report shows of a row: a
    dict of words and numbers, and under ``"image"`` an array (height, width[, 3]) of bytes.
    """

    inputs: tuple[Array, ...]
    truth: Array | None = None
    place: Callable[[int], str] = lambda row: f"row {row}"
    show: Callable[[int], dict[str, Any]] = lambda row: {}

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, rows: Array) -> Rows:
        """Return some of the rows."""
        return Rows(
            tuple(x[rows] for x in self.inputs),
            None if self.truth is None else self.truth[rows],
            lambda row: self.place(int(rows[row])),
            lambda row: self.show(int(rows[row])),
        )


@dataclass(frozen=True)
class Problem:
    """A source made ready for training.

    ``model``: a new network. ``loss``, ``transform``, ``augment``: as for ``thalweg.fit``.
    ``reasons``: sentences on what was inferred and chosen. ``notes``: what is wrong or odd about
    the data. ``settings``: those given, with every choice filled in. ``order``: which rows an epoch
    shows, one of ``thalweg.data.sampling``; None for all. ``files``: what must live as long as
    the rows do, which lie on the disk.
    """

    model: Module
    loss: Any
    training: Rows
    validation: Rows
    test: Rows
    settings: Settings
    transform: Any = None
    augment: Any = None
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    order: Any = None
    files: Any = None


class Task(ABC):
    """One kind of data. A subclass is made of settings, learns in ``prepare``, and is saved.

    ``turn``: the lowest is asked first whether it recognises a source: a table with one column of
    texts is one of texts before it is a table. ``kind``: what is predicted: ``"classes"`` (logits
    (n, classes)), ``"numbers"`` (n, targets) or ``"tokens"``. ``classes``: their names.
    ``targets``: the names of what is predicted. ``scratch``: a folder for rows that memory does not
    hold; left out, one for temporary files.
    """

    name: ClassVar[str]
    turn: ClassVar[int] = 100
    kind: Kind = "classes"
    classes: tuple[Any, ...] = ()
    targets: tuple[str, ...] = ()
    scratch: Path | None = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        TASKS[cls.name] = cls

    @classmethod
    @abstractmethod
    def recognises(cls, source: Path, settings: Settings) -> str:
        """Return why a source is of this kind, or an empty text if it is not."""

    @abstractmethod
    def prepare(self, source: Path) -> Problem:
        """Read and split the source, learn from the training rows what is needed, make a network.

        Raises:
            DataError: the source cannot be learned from; says which row, column or file and why.
        """

    @abstractmethod
    def read(self, source: Any) -> Rows:
        """Return new samples as the network takes them; with ``truth`` if the source has it."""

    def read_inputs(self, source: Any) -> Rows:
        """Return new samples without ``truth``, whatever the source has in its place."""
        return self.read(source)

    def blocks(self, source: Any, inputs_only: bool = True) -> Iterator[Rows]:
        """Yield new samples in parts that memory can hold, without ``truth`` if ``inputs_only``."""
        yield self.read_inputs(source) if inputs_only else self.read(source)

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return all that was learned: what JSON can hold, and arrays."""

    @abstractmethod
    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take over what ``state`` returned."""

    @property
    def transform(self) -> Any:
        """What makes inputs ready inside of the compiled step, as for ``thalweg.fit``."""
        return None

    def columns(self, outputs: Array) -> dict[str, list[Any]]:
        """Return predictions as columns, by name: for classes with their probabilities."""
        if self.kind == "classes":
            shares = probabilities(outputs)
            best = shares.argmax(axis=1)
            made: dict[str, list[Any]] = {
                "prediction": [self.classes[i] for i in best],
                "probability": shares.max(axis=1).tolist(),
            }
            for i, name in enumerate(self.classes):
                made[f"probability of {name}"] = shares[:, i].tolist()
            return made
        numbers = self.numbers(outputs)
        names = self.targets if len(self.targets) > 1 else ("prediction",)
        return {name: numbers[:, i].tolist() for i, name in enumerate(names)}

    def columns_of(self, rows: Rows, outputs: Array) -> dict[str, list[Any]]:
        """Return predictions as columns, with what the rows themselves tell: files, dates."""
        files = {"file": [rows.place(i) for i in range(len(rows))]}
        return (files if "file" in rows.show(0) else {}) | self.columns(outputs)

    def appraise(self, run: Any, problem: Problem, history: Any) -> dict[str, Any] | None:
        """Return what ``results.json`` tells of a run, or None for what most kinds of data tell."""
        return None

    def figures(self, run: Any, source: Any) -> tuple[int, dict[str, float]]:
        """Return the number of samples of a source, and the figures of a run on them.

        Raises:
            DataError: the source has no targets.
        """
        from thalweg.tasks.appraisal import figures_of_outputs

        outputs, truths = [], []
        for rows in self.blocks(source, inputs_only=False):
            if rows.truth is None:
                raise DataError(
                    f"{source} has no {', '.join(map(repr, self.targets)) or 'classes'} to compare "
                    f"with; predicting needs none. {where()}"
                )
            outputs.append(run.outputs(rows))
            truths.append(rows.truth)
        truth = np.concatenate(truths)
        return len(truth), figures_of_outputs(self, np.concatenate(outputs), truth)

    def numbers(self, outputs: Array) -> Array:
        """Return predicted numbers, or targets, (n, targets) in their own unit."""
        return np.asarray(outputs, np.float64).reshape(len(outputs), -1)

    def importance(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """Yield each named input, and the rows with its values shuffled; nothing if there is none.

        The names are those that people know: a column, not the numbers that were made of it.
        """
        return iter(())


TASKS: dict[str, type[Task]] = {}


def unwrapped(source: Path, settings: Settings) -> Path:
    """Return what a folder that holds one folder and nothing else is about: the inner one.

    Archives are often unpacked so. Hidden entries and those that begin with ``_`` do not count. A
    folder that no task recognises without the one around it, such as one of a single class, stays
    in it.

    >>> import tempfile
    >>> outer = Path(tempfile.mkdtemp())
    >>> (outer / "book").mkdir()
    >>> _ = (outer / "book" / "one.txt").write_text("It was the best of times")
    >>> unwrapped(outer, Settings()).name
    'book'
    """
    inner = source
    while inner.is_dir():
        try:
            held = [entry for entry in inner.iterdir() if entry.name[0] not in "._"]
        except OSError:
            break  # the task says what is wrong with it
        if len(held) != 1 or not held[0].is_dir():
            break
        inner = held[0]
    if inner == source:
        return source
    try:
        recognise(inner, settings)
    except ArgumentError:
        return source
    return inner


def recognise(source: Path, settings: Settings) -> tuple[Task, str]:
    """Return the task for a source, and why.

    Raises:
        ArgumentError: the task that was named does not exist, or none recognises the source.
    """
    if settings.task is not None:
        if settings.task not in TASKS:
            raise ArgumentError(
                f"there is no task {settings.task!r}; {nearest(settings.task, TASKS)}. {where()}"
            )
        return TASKS[settings.task](settings), "as you said"
    for kind in sorted(TASKS.values(), key=lambda one: one.turn):
        reason = kind.recognises(source, settings)
        if reason:
            return kind(replace(settings, task=kind.name)), reason
    raise ArgumentError(
        f"it cannot be told what to learn from {str(source)!r}; name the column to predict "
        f"(--target), or the kind of task (--task: {', '.join(TASKS)}). {where()}"
    )


def probabilities(logits: Array) -> Array:
    """Return the softmax of logits (n, classes), in float64.

    >>> probabilities(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    wide = logits.astype(np.float64)
    shares = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
