"""Text files: one sample a line, alone or as label and text; encodings checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.data.dataset import Arrays, Source
from thalweg.errors import DataError, where

__all__ = ["TextLines", "read_text"]

Array = np.ndarray[Any, Any]


class TextLines(Source):
    r"""The lines of a text file, each a sample: a text, or a label, a separator and a text.

    ``path``: a file. ``separator``: what stands between label and text, such as a tab, or None
    for lines without labels. ``label_last``: the label is the last field, not the first.
    Empty lines are left out. ``classes`` holds the labels' names in the order of their numbers,
    ``lengths`` the number of characters of each text.

    Shapes: texts (batch,) of str, and labels (batch,) int64 where there are any.

    Raises:
        DataError: a file that is missing, empty or not in this encoding, or a line without a
            separator, with its number.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mail.tsv"
        >>> _ = file.write_text("ham\tSee you soon\nspam\tYou have won\n")
        >>> mail = TextLines(file, separator="\t")
        >>> texts, labels = mail.fetch(np.array([1]))
        >>> str(texts[0]), labels.tolist(), mail.classes
        ('You have won', [1], ('ham', 'spam'))
    """

    in_memory = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        separator: str | None = None,
        *,
        label_last: bool = False,
        encoding: str = "utf-8",
    ) -> None:
        self.path = Path(path)
        kept = [
            (number, line.rstrip("\r"))
            for number, line in enumerate(read_text(path, encoding).split("\n"), 1)
            if line.strip()
        ]
        if not kept:
            raise DataError(f"{self.path} holds no lines of text; give another file. {where()}")
        self.line_numbers = np.array([number for number, _ in kept])
        lines = [line for _, line in kept]
        self.classes: tuple[str, ...] = ()
        if separator is None:
            self.texts: Array = np.array(lines, object)
            self.names = ("text",)
            self.lengths = _characters(lines)
            return
        names, texts = self._separated(lines, separator, label_last)
        classes, codes = np.unique(names, return_inverse=True)
        self.classes = tuple(str(name) for name in classes)
        self.texts, self.labels = np.array(texts, object), codes.astype(np.int64)
        self.lengths = _characters(texts)
        self.names = ("text", "label")

    def __len__(self) -> int:
        return len(self.texts)

    def fetch(self, rows: Array) -> Arrays:
        """Return the texts of these rows, and their labels where there are any."""
        if self.labels is None:
            return (self.texts[rows],)
        return self.texts[rows], self.labels[rows]

    def describe(self, row: int) -> str:
        """Say which line of the file it is."""
        return f"{self.path}: line {int(self.line_numbers[row])}"

    def _separated(
        self, lines: list[str], separator: str, label_last: bool
    ) -> tuple[list[str], list[str]]:
        labels, texts = [], []
        for row, line in enumerate(lines):
            parts = line.rsplit(separator, 1) if label_last else line.split(separator, 1)
            label, text = (parts[-1], parts[0]) if label_last else (parts[0], parts[-1])
            if len(parts) < 2 or not label.strip():
                raise DataError(
                    f"{self.describe(row)}: no label "
                    f"and text with {separator!r} between them: {line[:60]!r}. Mend the line, or "
                    f"give the separator that the file has. {where()}"
                )
            labels.append(label.strip())
            texts.append(text.rstrip(separator) if separator.isspace() else text)
        return labels, texts


def _characters(texts: list[str]) -> Array:
    return np.array([len(text) for text in texts], np.int64)


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    r"""Return the text of a file; a byte-order mark at its start is left out.

    Raises:
        DataError: the file is missing or empty, or its bytes are not in this encoding; names the
            line of the first byte that is not, and guesses the encoding.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.txt"
        >>> _ = file.write_bytes("\ufeffGrüße".encode())
        >>> read_text(file)
        'Grüße'
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"the file {Path(path)} cannot be read ({error.strerror}); check its path. {where()}"
        ) from error
    if not raw:
        raise DataError(f"{Path(path)} is empty, it has no bytes; give another file. {where()}")
    return decode(raw, encoding, Path(path))


def decode(raw: bytes, encoding: str, name: object) -> str:
    """Return bytes as text, without a byte-order mark; an error names the line.

    Raises:
        DataError: the bytes are not in this encoding, or there is no such encoding.

    >>> decode(b"abc", "utf-8", "a.txt")
    'abc'
    """
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(
            f"the encoding {encoding!r} is unknown; give one such as 'utf-8' or 'cp1252'. {where()}"
        ) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        guess = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"
        raise DataError(
            f"{name}: line {line} holds the byte 0x{raw[error.start]:02x}, which is not "
            f"{encoding}; give its encoding, perhaps encoding={guess!r}. {where()}"
        ) from error
