"""Texts: each is told its class, learned from texts with labels."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.features import ClassTarget, Tokens, Transformer, Values
from thalweg.data.features.transformer import words_of
from thalweg.errors import DataError, where
from thalweg.models.text_network import TextNetwork
from thalweg.nn.initializers import normal
from thalweg.tasks.noticing import notes_of_classes
from thalweg.tasks.parts import split_labels, split_rows
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import Problem, Rows, Task
from thalweg.tasks.text_sources import Form, Texts, read_labelled, read_like, text_reason

__all__ = ["TextsTask"]

Array = np.ndarray[Any, Any]
_FEWEST: Final = 10  # texts in all
_REPEATED: Final = 3  # texts that a class needs to be in all three parts
_LONGEST: Final = 256  # tokens a text that are read if nothing else is said
_WORDS: Final = 1.5  # words a text, in the mean, below which texts are read letter by letter


class TextsTask(Task):
    """Learns the class of texts: of lines of label and text, of a table, or of a folder a class.

    Words are cut into pieces that the training texts are made of (letters, where texts are single
    words). The network is a ``TextNetwork`` whatever the number of texts: learned from nothing,
    small Transformers are behind convolutions and bags of words up to some hundred thousand texts
    (arXiv:1509.01626, arXiv:1607.01759), and take many times as long on a few cores.

    >>> TextsTask.name
    'texts'
    """

    name = "texts"
    turn = 40
    kind = "classes"

    @classmethod
    def recognises(cls, source: Path, settings: Settings) -> str:
        """Labels are told by their repetition: lines of label and text, tables, folders."""
        return text_reason(source, settings)

    @property
    def loss(self) -> str:
        """The loss that the network learns by."""
        return "cross_entropy"

    def prepare(self, source: Path) -> Problem:
        """Read and split the texts, learn tokens from those to train on, make a network."""
        settings = self.settings
        found, self.form = read_labelled(source, settings)
        notes, labels = found.notes, np.asarray(found.labels)
        words = np.array(words_of(Values(self.form.target, labels)), str)
        _check(source, words)
        if found.table is not None:
            parts = split_rows(found.table, settings, ClassTarget(), notes)
        else:
            parts = split_labels(words, settings, notes)
        notes += notes_of_classes(words) + _repetitions(found.texts, words, parts)
        self._fit(found.take(parts[0]))
        rows = self._rows(found)
        training, validation, test = (rows.take(part) for part in parts)
        filled = _chosen(settings, self.tokens, len(training))
        held = self.tokens.describe()
        reasons = [f"{len(found):,} texts of {len(self.classes)} classes", held]
        return Problem(
            self._network(filled), self.loss, training, validation, test, filled,
            reasons=reasons, notes=notes,
        )  # fmt: skip

    def read(self, source: Any) -> Rows:
        """Return the texts of a file or folder, of a list of str, or of a column of texts."""
        known = [str(c) for c in self.target.classes]
        return self._rows(read_like(source, self.form, self.settings, known))

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return tokens, classes, and how the texts stood in their source."""
        tokens, target = self.tokens.state(), self.target.state()
        facts = {"tokens": tokens[0], "target": target[0], "form": asdict(self.form)}
        arrays = {f"tokens.{k}": a for k, a in tokens[1].items()}
        return facts, arrays | {f"target.{k}": a for k, a in target[1].items()}

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take over tokens, classes and form."""

        def made(part: str) -> Any:
            start = f"{part}."
            own = {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}
            return Transformer.from_state(facts[part], own)

        self.tokens, self.form = made("tokens"), Form(**facts["form"])
        self._tell_by(made("target"))

    def _fit(self, training: Texts) -> None:
        settings, texts = self.settings, training.texts
        level = settings.level or _level(texts)
        self.tokens = Tokens(level=level, length=settings.length)
        self.tokens.fit(Values(self.form.text, texts, training.place))
        if settings.length is None and self.tokens.length > _LONGEST:
            self.tokens = Tokens(level=level, length=_LONGEST)
            self.tokens.fit(Values(self.form.text, texts, training.place))
        target = ClassTarget()
        target.fit(Values(self.form.target, np.asarray(training.labels), training.place))
        self._tell_by(target)

    def _tell_by(self, target: ClassTarget) -> None:
        self.target, self.targets = target, (self.form.target,)
        self.classes = tuple(target.inverse_transform(np.arange(len(target.classes))))

    def _rows(self, found: Texts) -> Rows:
        truth = None
        if found.labels is not None:
            truth = self.target.transform(Values(self.form.target, found.labels, found.place))
        tokens = self.tokens.transform(Values(self.form.text, found.texts, found.place))
        texts = found.texts
        return Rows((tokens,), truth, found.place, lambda row: {"text": str(texts[row])})

    def _network(self, settings: Settings) -> TextNetwork:
        width = settings.size or 64
        model = TextNetwork(
            self.tokens.size, len(self.classes), width, width, hidden=settings.hidden or (),
            windows=_windows(self.tokens), dropout=settings.dropout or 0.0,
        )  # fmt: skip
        # Small, so that a rare token says little until it has been learned.
        model.embedding.weight_init = functools.partial(normal, std=0.1)
        return model.reset_parameters(settings.seed)


def _check(source: Path, labels: Array) -> None:
    """Raise unless there are enough texts, and classes that can be told apart."""
    if len(labels) < _FEWEST:
        raise DataError(
            f"{source} has {len(labels)} texts with a label; at least {_FEWEST} are needed to "
            f"train, validate and test. {where()}"
        )
    names, counts = np.unique(labels, return_counts=True)
    if len(names) == 1:
        raise DataError(
            f"{source}: all {len(labels):,} texts are of the one class {str(names[0])!r}, so there "
            f"is nothing to tell apart; add texts of another. {where()}"
        )
    if counts.max() < _REPEATED:
        raise DataError(
            f"{source}: each of the {len(names):,} classes has one or two texts, so nothing can "
            f"be learned of any; is {str(labels[0])!r} the label of the first? {where()}"
        )


def _repetitions(texts: Array, labels: Array, parts: Any) -> list[str]:
    """Return sentences on texts that come twice, in both parts or with two labels."""
    notes = []
    known = set(texts[parts[0]])
    both = sum(text in known for text in texts[parts[2]])
    if both:
        notes.append(f"{both:,} texts of the test part are also in the training part, word for "
                     "word")  # fmt: skip
    of: dict[str, set[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        of.setdefault(text, set()).add(label)
    several = [text for text, names in of.items() if len(names) > 1]
    if several:
        notes.append(f"{len(several):,} texts have more than one label, such as "
                     f"{several[0][:60]!r}")  # fmt: skip
    return notes


def _level(texts: Array) -> str:
    """Return by what a text is read: pieces of words, or letters."""
    if np.mean([len(str(text).split()) for text in texts]) < _WORDS:
        return "character"
    return "character" if importlib.util.find_spec("tokenizers") is None else "wordpiece"


def _windows(tokens: Tokens) -> tuple[int, ...]:
    """Return the widths of the convolutions: a phrase of words, or a word of letters."""
    return (2, 3) if tokens.settings["level"] in ("wordpiece", "bpe") else (3, 5)


def _chosen(settings: Settings, tokens: Tokens, rows: int) -> Settings:
    """Return the settings with every choice made by the number and the length of the texts."""
    small, large = rows < 2_000, rows >= 20_000

    def one(given: Any, else_: Any) -> Any:
        return else_ if given is None else given

    return replace(
        settings,
        network="text",
        level=tokens.settings["level"],
        length=tokens.length,
        size=one(settings.size, 64),
        hidden=one(settings.hidden, ()),
        dropout=one(settings.dropout, 0.3 if large else 0.5),
        batch_size=one(settings.batch_size, 32 if small else 128 if large else 64),
        learning_rate=one(settings.learning_rate, 3e-3),
        weight_decay=one(settings.weight_decay, 1e-2),
        epochs=one(settings.epochs, 15 if large else 40),
        patience=one(settings.patience, 3 if large else 5),
        ema=one(settings.ema, 0.99),
    )
