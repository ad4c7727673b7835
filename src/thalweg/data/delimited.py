"""Delimited text (CSV, TSV): separator found, records counted, faults named by line."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.text_files import decode
from thalweg.errors import DataError, where

__all__ = ["Delimited", "parse_delimited", "read_delimited", "rows_of_fields"]

Array = np.ndarray[Any, Any]
SEPARATORS: Final = (",", "\t", ";", "|")
_SAMPLE: Final = 50  # records that are looked at to find the separator
_LONGEST: Final = 1 << 27  # characters of one field; the csv module's limit of 131,072 is small


@dataclass(frozen=True, eq=False)
class Delimited:
    """What a delimited file holds before its fields are read: names, separator, lines.

    ``text``: UTF-8 without a byte-order mark. ``header``: whether the first record holds the
    names. ``lines``: the line of the file on which each row starts (n,). ``kept``: which of the
    records after the header are rows, and not empty lines (records,).
    """

    path: Path
    text: bytes
    separator: str
    names: tuple[str, ...]
    header: bool
    lines: Array
    kept: Array


def read_delimited(
    path: Path,
    separator: str | None = None,
    encoding: str = "utf-8",
    header: bool | None = None,
    names: Sequence[str] | None = None,
) -> Delimited:
    r"""Read a delimited file and check that each record has as many fields as the first one.

    ``separator``: left out, the one of comma, tab, semicolon and bar that cuts all records alike.
    ``header``: whether the first line holds names; left out, it does unless ``names`` are given.

    Raises:
        DataError: a file that is missing, empty or not in this encoding, a separator that is not
            in it, a ragged record, duplicate or missing names, a first line that looks like data.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.csv"
        >>> _ = file.write_text("x;y\n1;2\n\n3;4\n")
        >>> found = read_delimited(file)
        >>> found.separator, found.names, found.lines.tolist()
        (';', ('x', 'y'), [2, 4])
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"the file {path} cannot be read ({error.strerror}); check its path. {where()}"
        ) from error
    return parse_delimited(path, decode(raw, encoding, path), separator, header, names)


def parse_delimited(
    path: Path,
    decoded: str,
    separator: str | None = None,
    header: bool | None = None,
    names: Sequence[str] | None = None,
    line: int = 1,
) -> Delimited:
    r"""Return what a text holds; as ``read_delimited``, which says what raises.

    ``path``: the file that it is of. ``line``: the line of the file on which the text begins.

    Example:
        >>> parse_delimited(Path("a.csv"), "1,2\n", names=["x", "y"], line=9).lines.tolist()
        [9]
    """
    text = decoded.lstrip("\r\n")  # names may follow empty lines
    skipped = decoded[: len(decoded) - len(text)].count("\n") + line - 1
    if not text.strip(None if line == 1 else "\r\n"):
        raise DataError(f"{path} is empty, it holds no rows; give another file. {where()}")
    used = _separator(path, text, separator)
    has_header = names is None if header is None else header
    wanted = len(names) if names is not None and line > 1 else None  # else the first line's
    first, starts, filled = _scan(path, text, used, skipped, wanted)
    found = tuple(field.strip() for field in first) if has_header else None
    if found is not None and header is None:
        _check_header(path, found)
    given = tuple(names) if names is not None else found
    if given is None:
        given = tuple(f"column {i}" for i in range(len(first)))
    _check_names(path, given, len(first), skipped + 1)
    after = slice(1 if has_header else 0, None)
    rows, kept = starts[after][filled[after]], filled[after]
    if not len(rows):
        raise DataError(f"{path} holds names but no rows; give a file with data. {where()}")
    return Delimited(path, text.encode(), used, given, has_header, rows, kept)


def rows_of_fields(found: Delimited) -> tuple[tuple[str, ...], list[list[str]], Array]:
    r"""Return the names, the fields of each row as text, and the line of each row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.csv"
        >>> _ = file.write_text("x,y\n1,2\n")
        >>> rows_of_fields(read_delimited(file))[1]
        [['1', '2']]
    """
    records = [fields for _, fields in _records(found.text.decode(), found.separator) if fields]
    return found.names, records[1:] if found.header else records, found.lines


def _records(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each record starts, from 1 on, and its fields; empty lines too."""
    limit = csv.field_size_limit(_LONGEST)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        start = 1
        for fields in reader:
            yield start, fields
            start = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _separator(path: Path, text: str, given: str | None) -> str:
    """Return the separator: the one given, or the one that cuts the first records alike."""
    if given is not None and len(given) != 1:
        raise DataError(f"{path}: separator={given!r}, wanted one character. {where()}")
    sample = "\n".join(text.split("\n", _SAMPLE)[:_SAMPLE])
    found = {}
    for candidate in SEPARATORS:
        counts = [len(fields) for _, fields in _records(sample, candidate) if fields]
        # Most records alike; of several such separators the one with most fields.
        common = max(set(counts), key=counts.count)
        if common > 1:
            found[candidate] = (counts.count(common) / len(counts), common)
    best = max(found, key=lambda candidate: found[candidate], default=None)
    if given is None:
        return best or ","
    in_first = len(next(_records(sample, given))[1])
    if in_first == 1 and best is not None and best != given:
        raise DataError(
            f"{path}: the separator {given!r} is not in its first line, {sample.split()[0][:60]!r}"
            f"; it seems to be {best!r}, which gives {found[best][1]} columns. {where()}"
        )
    return given


def _scan(
    path: Path, text: str, separator: str, skipped: int, wanted: int | None
) -> tuple[list[str], Array, Array]:
    """Return the first record, the line of each, and which are not empty; refuse ragged ones.

    ``wanted``: fields of a record; None for as many as the first one has.
    """
    plain = _scan_plain(text, separator, wanted)
    if plain is not None:
        return plain[0], plain[1] + skipped, plain[2]
    lines, filled, first = array("q"), bytearray(), None
    ragged: list[tuple[int, int]] = []
    try:
        for line, fields in _records(text, separator):
            if first is None:
                first, wanted = fields, wanted or len(fields)
            if fields and len(fields) != wanted:
                ragged.append((line + skipped, len(fields)))
            lines.append(line + skipped)
            filled.append(bool(fields))
    except csv.Error as error:
        raise DataError(
            f"{path}: line {lines[-1] + 1 if lines else 1} is no delimited text ({error}); check "
            f"the file. {where()}"
        ) from error
    assert first is not None  # the text is not empty
    if ragged:
        line, count = ragged[0]
        shown = text.split("\n", line - skipped)[line - skipped - 1].strip()
        raise DataError(
            f"{path}: line {line} has {count} fields, the first line has {wanted}, and so for "
            f"{len(ragged) - 1:,} other lines: {shown[:80]!r}. Put quotes around text that holds "
            f"{separator!r}, add what is missing, or give another separator. {where()}"
        )
    return first, np.frombuffer(lines, np.int64), np.frombuffer(filled, np.bool_)


def _scan_plain(
    text: str, separator: str, wanted: int | None
) -> tuple[list[str], Array, Array] | None:
    """Return what ``_scan`` does, of text without quotes and faults; None of any other.

    There each line is a record, so that they are counted many times faster than by reading them.
    """
    if not separator.isascii() or '"' in text or text.count("\r") != text.count("\r\n"):
        return None
    data = np.frombuffer(text.encode(), np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    empty = (ends == starts) | ((ends == starts + 1) & (data[np.minimum(starts, len(data) - 1)]
                                                       == ord("\r")))  # fmt: skip
    cuts = np.searchsorted(np.flatnonzero(data == ord(separator)), np.append(starts, len(data)))
    fields = np.diff(cuts) + 1
    if (fields[~empty] != (wanted or fields[0])).any():
        return None  # the slow way tells the line
    first = next(_records(text[: text.find("\n") if "\n" in text else len(text)], separator))[1]
    return first, np.arange(1, len(ends) + 1), ~empty


def _check_header(path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            float(name)
        except ValueError:
            continue
        raise DataError(
            f"{path}: the first line holds {name!r} where a column's name was wanted; give "
            f"names=[...] (or header=False) if the file has no names, or header=True if these are "
            f"the names. {where()}"
        )


def _check_names(path: Path, names: tuple[str, ...], fields: int, line: int) -> None:
    if len(names) != fields:
        raise DataError(
            f"{path}: {len(names)} names for {fields} columns (line {line}); give one a column. "
            f"{where()}"
        )
    check_unique(names, str(path))


def check_unique(names: Sequence[str], who: str) -> None:
    """Raise unless every column has a name of its own.

    Raises:
        DataError: a name comes twice or is empty; says in which columns.

    >>> check_unique(["a", "b"], "the table")
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        first = places.setdefault(name, place)
        if first != place:
            raise DataError(
                f"{who}: the columns {first} and {place} are both called {name!r}; rename one. "
                f"{where()}"
            )
        if not str(name).strip():
            raise DataError(
                f"{who}: column {place} has no name; name it, or leave it out of the file (an "
                f"index that was written with the table is often such a column). {where()}"
            )
