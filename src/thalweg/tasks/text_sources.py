"""Texts with labels: lines of label and text, tables with a column of texts, a folder a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.tables import Table
from thalweg.data.text_files import TextLines, read_text
from thalweg.errors import ArgumentError, DataError, nearest, where
from thalweg.tasks import reading
from thalweg.tasks.settings import Settings

__all__ = ["Form", "Texts", "read_labelled", "read_like", "text_reason"]

Array = np.ndarray[Any, Any]
LINES: Final = (".tsv", ".tab", ".txt", ".data", ".csv")
_LOOKED_AT: Final = 1 << 18  # bytes that are read to tell what a file is
_FEWEST: Final = 10  # lines from which on it can be told which field is the label
_REPEATED: Final = 3  # a field of labels has each of them so often, in the mean
_MOST: Final = 0.95  # share of the lines that have just one separator
_FEW: Final = 20  # distinct whole numbers that are classes
_BROKEN: Final = 0.01  # share of unreadable files that is passed over


@dataclass(frozen=True)
class Form:
    """How texts and labels stand in a source, so that another one is read in the same way.

    ``kind``: ``"lines"``, ``"table"`` or ``"folder"``. ``separator``, ``label_last``: of lines.
    ``text``, ``target``: names of the columns of a table. ``schema``: their kinds.
    """

    kind: str
    separator: str = "\t"
    label_last: bool = False
    text: str = "text"
    target: str = "label"
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Texts:
    """Texts (n,) of str, their labels (n,) or None, and where each came from, in words.

    ``table``: the rows of the table that they came from. ``notes``: what was odd about the source.
    """

    texts: Array
    labels: Array | None
    place: Callable[[int], str]
    table: Table | None = None
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Array) -> Texts:
        """Return some of the texts."""
        return Texts(
            self.texts[rows], None if self.labels is None else self.labels[rows],
            lambda row: self.place(int(rows[row])),
            None if self.table is None else self.table.take(rows), self.notes,
        )  # fmt: skip


def text_reason(source: Path, settings: Settings) -> str:
    """Return why a source holds labelled texts, or an empty text if it does not."""
    if source.is_dir():
        folders = class_folders(source)
        if len(folders) < 2 or settings.target:
            return ""
        return f"{source.name} has {len(folders)} folders of .txt files: a class each"
    suffix = source.suffix.lower()
    if settings.target:
        return _reason_of_table(source, settings) if suffix in reading.SUFFIXES else ""
    if suffix not in LINES or not source.is_file():
        return ""
    separator = settings.separator or "\t"
    label_last = _label_last(_first_lines(source, settings.encoding), separator)
    if label_last is None:
        return ""
    side = "text, then label" if label_last else "label, then text"
    return f"the lines of {source.name} hold a {side}, with {separator!r} between them"


def class_folders(source: Path) -> list[Path]:
    """Return the folders in a folder that hold .txt files, by name.

    >>> class_folders(Path(__file__).parent)
    []
    """
    folders = [p for p in source.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return sorted(p for p in folders if any(p.rglob("*.txt")))


def read_labelled(source: Path, settings: Settings) -> tuple[Texts, Form]:
    """Return the texts and labels of a source to train on, and how they stand in it.

    Raises:
        DataError: it cannot be read, or it cannot be told what is text and what is label.
    """
    if source.is_dir():
        made, form = _read_folder(source, settings.encoding, None), Form("folder")
    elif settings.target:
        made, form = _read_training_table(source, settings)
    else:
        made, form = _read_training_lines(source, settings)
    return _present(made), form


def read_like(source: Any, form: Form, settings: Settings, classes: Sequence[str]) -> Texts:
    """Return the texts of a new source, with labels where it has them.

    ``source``: a file or folder, a list of texts, a data frame or a dict of columns. ``classes``:
    those that are known; lines and folders that name them have labels.

    Raises:
        DataError: it cannot be read, or has no texts.
    """
    if isinstance(source, (list, tuple, np.ndarray)):
        return _of_sequence(source)
    if not isinstance(source, (str, Path)):
        return _of_table(reading.read(source, settings, form.schema), form)
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, settings.encoding, classes)
    suffix = path.suffix.lower()
    if suffix in reading.SUFFIXES and (form.kind == "table" or suffix in (".csv", *reading.TYPED)):
        return _of_table(reading.read(path, settings, form.schema), form)
    if form.kind == "folder":
        text = np.array([read_text(path, settings.encoding)], object)
        return Texts(text, None, lambda row: str(path))
    return _of_lines(path, form, settings, classes)


# --- lines ------------------------------------------------------------------------------------


def _first_lines(source: Path, encoding: str) -> list[str]:
    """Return the lines that a file begins with; what is not in the encoding is told later."""
    try:
        with source.open("rb") as file:
            raw = file.read(_LOOKED_AT)
        text = raw.decode(encoding, errors="replace").removeprefix("\ufeff")
    except (OSError, LookupError):
        return []
    lines = text.split("\n")
    kept = lines[:-1] if len(raw) == _LOOKED_AT else lines
    return [line.rstrip("\r") for line in kept if line.strip()]


def _label_last(lines: Sequence[str], separator: str) -> bool | None:
    """Return whether the label is the last field of lines, or None if no field holds labels."""
    if len(lines) < _FEWEST:
        return None
    if separator.isspace():  # empty fields at the end of lines, as spreadsheets write them
        filled = sum(line.rstrip(separator).count(separator) == 1 for line in lines)
    else:
        filled = sum(line.count(separator) == 1 for line in lines)
    if filled < _MOST * len(lines):
        return None
    first = [line.split(separator, 1)[0].strip() for line in lines]
    last = [line.rsplit(separator, 1)[-1].strip() for line in lines]
    label_last = all(last) and len(set(last)) < len(set(first))
    labels, texts = (last, first) if label_last else (first, last)
    if len(set(labels)) < 2 or len(set(labels)) * _REPEATED > len(lines):
        return None
    if sum(_is_number(text) for text in texts) > len(texts) / 2:
        return None
    return label_last


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_training_lines(source: Path, settings: Settings) -> tuple[Texts, Form]:
    separator = settings.separator or "\t"
    read_text(source, settings.encoding)  # an unreadable file is told as such
    label_last = _label_last(_first_lines(source, settings.encoding), separator)
    if label_last is None:
        raise DataError(
            f"{source} is not made of lines with a label, {separator!r} and a text: wanted at "
            f"least {_FEWEST} lines, the labels of which come several times each. Give the "
            "separator of the lines (--set separator=...), or for a table with names in its first "
            f"line the column of the labels (--target). {where()}"
        )
    found = TextLines(source, separator, label_last=label_last, encoding=settings.encoding)
    labels = np.array(found.classes, object)[found.labels]
    made = Texts(found.texts, labels, found.describe)
    if settings.header or (settings.header is None and _has_names(found.texts, labels)):
        named = f"{labels[0]}, {found.texts[0]}"
        made = made.take(np.arange(1, len(made)))
        made.notes.append(f"the first line names the fields ({named}) and is left out")
    return made, Form("lines", separator, label_last)


def _has_names(texts: Array, labels: Array) -> bool:
    """Whether the first line looks like names: a label that never comes again, and one word."""
    if len(str(texts[0]).split()) != 1 or _is_number(str(labels[0])):
        return False
    names, counts = np.unique(labels.astype(str), return_counts=True)
    alone = set(names[counts == 1])
    return alone == {str(labels[0])} and bool(np.mean([len(t.split()) for t in texts[1:]]) > 2)


def _of_lines(path: Path, form: Form, settings: Settings, classes: Sequence[str]) -> Texts:
    """Return the lines of a file as texts; with labels if most of them begin or end with one."""
    plain = TextLines(path, encoding=settings.encoding)
    lines = [str(line) for line in plain.texts]
    if form.kind == "lines":
        known = set(classes)
        named = [_label_of(line, form) in known for line in lines]
        if sum(named) * 2 > len(lines):
            found = TextLines(path, form.separator, label_last=form.label_last,
                              encoding=settings.encoding)  # fmt: skip
            labels = np.array(found.classes, object)[found.labels]
            made = Texts(found.texts, labels, found.describe)
            return made if named[0] else _without_names(made)
    return Texts(plain.texts, None, plain.describe)


def _label_of(line: str, form: Form) -> str:
    parts = line.rsplit(form.separator, 1) if form.label_last else line.split(form.separator, 1)
    return (parts[-1] if form.label_last else parts[0]).strip() if len(parts) > 1 else ""


def _without_names(made: Texts) -> Texts:
    assert made.labels is not None
    return made.take(np.arange(1, len(made))) if _has_names(made.texts, made.labels) else made


# --- tables -----------------------------------------------------------------------------------


def _reason_of_table(source: Path, settings: Settings) -> str:
    """Return why a table is one of texts: but the target, it has one column, and that of texts.

    One larger than memory is left to the task for tables, which reads it in blocks.
    """
    if len(settings.target) != 1 or not source.is_file() or _has_many_columns(source, settings):
        return ""
    if reading.blocks_of(source, settings) is not None:
        return ""
    try:
        table = _training_table(source, settings)
        target = settings.target[0]
        others = [n for n in table.names if n not in (target, settings.group, settings.time)]
        if len(others) != 1 or table.columns[others[0]].kind != "text":
            return ""
        _check_classes(table, target, settings)
    except (ArgumentError, DataError, KeyError):
        return ""  # the task for tables says what is wrong with it
    return f"{source.name} has one column beside {target!r}, the texts of {others[0]!r}"


def _has_many_columns(source: Path, settings: Settings) -> bool:
    """Whether the first line of delimited text already shows that there are other columns.

    So a large table is not read to the end to tell that it is none of texts.
    """
    if reading.is_typed(source):
        return False
    lines = _first_lines(source, settings.encoding)
    separators = [settings.separator] if settings.separator else list(",;\t|")
    fields = 1 + max((lines[0].count(one) for one in separators), default=0) if lines else 0
    return fields > 4 + len(settings.drop)  # target, text, and columns of groups and times


def _training_table(source: Path, settings: Settings) -> Table:
    kinds = {} if settings.text is None else {settings.text: "text"}
    return reading.read_training(source, settings, **kinds)


def _read_training_table(source: Path, settings: Settings) -> tuple[Texts, Form]:
    if len(settings.target) != 1:
        raise DataError(
            f"texts have one class each, got the targets {', '.join(settings.target)}; give one "
            f"--target. {where()}"
        )
    table, target = _training_table(source, settings), settings.target[0]
    for name in (target, settings.text, settings.group, settings.time):
        if name is not None and name not in table.columns:
            raise DataError(
                f"{source} has no column {name!r}; {nearest(name, table.names)}. {where()}"
            )
    _check_classes(table, target, settings)
    texts = [n for n, c in table.columns.items() if c.kind == "text" and n != target]
    if settings.text is None and len(texts) != 1:
        found = ", ".join(map(repr, texts)) or "none"
        raise DataError(
            f"{source}: the columns of texts are {found}; say which one to learn from "
            f"(--set text=NAME), or learn from all columns with --task table. {where()}"
        )
    text = settings.text or texts[0]
    schema = {name: dict(table.schema[name]) for name in (text, target)}
    form = Form("table", text=text, target=target, schema=schema)
    return _of_table(table, form), form


def _check_classes(table: Table, target: str, settings: Settings) -> None:
    column = table.columns[target]
    if column.kind == "category" or target in settings.categories:
        return
    if column.kind == "number":
        distinct = np.unique(column.values[~np.isnan(column.values)])
        if len(distinct) <= _FEW and (distinct == np.round(distinct)).all():
            return
    raise DataError(
        f"the target {target!r} holds {column.kind}s ({column.reason}), no classes; if they are "
        f"classes, say --category {target}; numbers are learned with --task table. {where()}"
    )


def _of_table(table: Table, form: Form) -> Texts:
    name = form.text
    if name not in table.columns:
        others = [n for n in table.names if n != form.target]
        if form.kind == "table" or len(others) != 1:
            raise DataError(
                f"the table has no column {name!r}, the texts that the network reads; "
                f"{nearest(name, table.names)}. {where()}"
            )
        name = others[0]
    words = ["" if v is None or v != v else str(v) for v in table.column(name)]
    labels = table.column(form.target) if form.target in table.columns else None
    return Texts(np.array(words, object), labels, table.describe, table)


def _of_sequence(source: Sequence[Any] | Array) -> Texts:
    for row, text in enumerate(source):
        if not isinstance(text, str):
            raise DataError(
                f"row {row} of the texts is {text!r}, wanted a str; give a list of texts. {where()}"
            )
    return Texts(np.array([str(t) for t in source], object), None, lambda row: f"row {row}")


# --- folders ----------------------------------------------------------------------------------


def _read_folder(source: Path, encoding: str, known: Sequence[str] | None) -> Texts:
    """Return the .txt files of a folder; the folders in it are their classes, if these are known.

    A file that is not in the encoding is passed over and told, if there are few.
    """
    folders = class_folders(source)
    if known is not None and not {p.name for p in folders} <= set(known):
        folders = []
    if known is None and len(folders) < 2:
        raise DataError(
            f"{source} has {len(folders)} folders of .txt files, wanted at least two: one for each "
            f"class. {where()}"
        )
    files = [(p.name, f) for p in folders for f in sorted(p.rglob("*.txt"))]
    files = files or [("", f) for f in sorted(source.rglob("*.txt"))]
    if not files:
        raise DataError(f"{source} holds no .txt files; give another folder. {where()}")
    texts, labels, paths, broken = [], [], [], []
    for label, file in files:
        try:
            texts.append(read_text(file, encoding) if file.stat().st_size else "")
        except DataError as error:
            broken.append(str(error))
            continue
        labels.append(label)
        paths.append(file)
    if len(broken) > _BROKEN * len(files):
        raise DataError(
            f"{len(broken):,} of {len(files):,} files cannot be read, such as: {broken[0]}"
        )
    told = [f"{len(broken):,} files cannot be read and are left out: {broken[0]}"] if broken else []
    named = np.array(labels, object) if folders else None
    return Texts(np.array(texts, object), named, lambda row: str(paths[row]), notes=told)


def _present(made: Texts) -> Texts:
    """Return the rows that have a text and a label; what is left out is told."""
    assert made.labels is not None
    empty = np.array([not str(text).strip() for text in made.texts], bool)
    missing = np.array([v is None or v != v for v in made.labels], bool) & ~empty
    for left, what in ((empty, "text"), (missing, "label")):
        if left.any():
            made.notes.append(
                f"{int(left.sum()):,} rows have no {what} and are left out, such as "
                f"{made.place(int(np.flatnonzero(left)[0]))}"
            )
    left = empty | missing
    return made.take(np.flatnonzero(~left)) if left.any() else made
