"""Files that each belong to a class: found in folders, lists and names, read in threads, split."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from thalweg.data.delimited import read_delimited, rows_of_fields
from thalweg.errors import DataError, nearest, where
from thalweg.settings import settings as machine
from thalweg.tasks.settings import Settings

__all__ = [
    "Labelled", "by_folder", "by_list", "by_name", "files_within", "holds_classes", "is_list",
    "listed_files", "named_by_class", "read_files", "told_faults",
]  # fmt: skip

Array = np.ndarray[Any, Any]
T = TypeVar("T")
Fault = dict[Path, str]
LISTS: Final = (".csv", ".tsv", ".tab")
LABELS: Final = ("label", "class", "target", "category")  # usual names of such a column
NAMED: Final = re.compile(r"([^_-]+)[_-]([^_-]+)")  # class, then who or what, in a file's name
_PARTS: Final = {
    "train": "training", "training": "training", "test": "test", "testing": "test",
    "val": "validation", "valid": "validation", "validation": "validation",
}  # fmt: skip
_NAMED: Final = 3  # files of each class from which on names are taken to tell it
_SHARE: Final = 0.01  # of broken files, up to which they are left out
_SHOWN: Final = 20  # names in a note
_BLOCK: Final = 4096  # files waiting for the threads at a time


@dataclass(frozen=True)
class Labelled:
    """Files (n), the class of each (n,) and, where the source has them, its part and its group.

    ``labels``: text, None where it is not known. ``parts``: ``"training"``, ``"validation"`` or
    ``"test"`` of each file. ``groups``: what must not be cut by a split. ``reasons``, ``notes``:
    how it was told, and what is odd.

    >>> Labelled([Path("cat/1.png")], np.array(["cat"], object)).take(np.array([0])).files[0].name
    '1.png'
    """

    files: list[Path]
    labels: Array | None
    parts: Array | None = None
    groups: Array | None = None
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, rows: Array) -> Labelled:
        """Return some of the files."""
        kept = [None if x is None else x[rows] for x in (self.labels, self.parts, self.groups)]
        return replace(
            self, files=[self.files[r] for r in rows], labels=kept[0], parts=kept[1], groups=kept[2]
        )


# --- finding -----------------------------------------------------------------------------


def files_within(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Return the files of a folder and the folders in it, in the order of their paths.

    Hidden ones are left out.

    Raises:
        DataError: the folder cannot be looked into.

    >>> files_within(Path(__file__).parent, frozenset([".py"]))[0].name
    '__init__.py'
    """
    found: list[Path] = []

    def fail(error: OSError) -> None:
        raise DataError(
            f"the folder {error.filename} cannot be looked into ({error.strerror}); mend its "
            f"permissions. {where()}"
        ) from error

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if name[0] not in "._"]  # __MACOSX is not a class
        here = Path(place)
        found += [here / n for n in names if n[0] != "." and Path(n).suffix.lower() in suffixes]
    return sorted(found)


def holds_classes(folder: Path, suffixes: frozenset[str]) -> str:
    """Return why a folder is taken to hold files by class, or an empty text.

    Only as many files are looked at as it takes to tell.

    >>> holds_classes(Path(__file__).parent, frozenset([".png"]))
    ''
    """
    within = [p for p in _folders(folder) if _any_within(p, suffixes)] if folder.is_dir() else []
    if not within:
        return ""
    names = ", ".join(p.name for p in within[:3]) + (", ..." if len(within) > 3 else "")
    return f"{folder.name or folder} holds folders of such files ({names})"


def by_folder(folder: Path, suffixes: frozenset[str], what: str) -> Labelled:
    """Return the files in a folder for each class, or in train/ and test/ of such folders.

    Raises:
        DataError: the folder holds no folders with such files, or files that belong to none.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "cat").mkdir()
    >>> _ = (folder / "cat" / "a.png").write_bytes(b"...")
    >>> by_folder(folder, frozenset([".png"]), "images").labels.tolist()
    ['cat']
    """
    folders = _folders(folder)
    if parts := _parts_of(folders):
        return _of_parts(folder, parts, suffixes, what)
    files: list[Path] = []
    labels: list[str] = []
    notes = []
    for place in folders:
        found = files_within(place, suffixes)
        files, labels = files + found, labels + [place.name] * len(found)
        if not found:
            notes.append(f"the folder {place.name} holds no {what} and is left out")
    loose = sum(p.suffix.lower() in suffixes and p.name[0] != "." for p in folder.iterdir())
    if not files:
        more = f" ({loose:,} {what} lie in it without a class)" if loose else ""
        raise DataError(
            f"the folder {folder} holds no folders of {what}{more}; those of a class belong into "
            f"a folder of its name, such as {folder / 'cat'}. {where()}"
        )
    if loose:
        notes.append(f"{loose:,} {what} lie beside the folders, have no class and are left out")
    reasons = ["the class of each file is the name of its folder"]
    return Labelled(files, np.array(labels, object), reasons=reasons, notes=notes)


def _parts_of(folders: Sequence[Path]) -> dict[Path, str]:
    """Return the part that each folder is for, if they are train and test, or the like."""
    parts = {p: _PARTS.get(p.name.lower(), "") for p in folders}
    found = set(parts.values())
    return parts if "" not in found and "training" in found and len(found) > 1 else {}


def _check_whole(folder: Path) -> None:
    if parts := _parts_of(_folders(folder)):
        names = " and ".join(p.name for p in parts)
        raise DataError(
            f"the folder {folder} is split into {names}; give one of them, such as "
            f"{next(iter(parts))}. {where()}"
        )


def _of_parts(
    folder: Path, parts: dict[Path, str], suffixes: frozenset[str], what: str
) -> Labelled:
    found = {place: by_folder(place, suffixes, what) for place in parts}
    known = {name for place, part in parts.items() if part == "training"
             for name in found[place].labels}  # type: ignore[union-attr]  # fmt: skip
    for place, one in found.items():
        assert one.labels is not None
        strange = sorted(set(one.labels) - known)
        if strange:
            raise DataError(
                f"the folder {place} has the class {strange[0]!r}, which the folder to train on "
                f"has not; it has {', '.join(sorted(known)[:10])}. {where()}"
            )
    names = ", ".join(f"{place.name} ({part})" for place, part in parts.items())
    whole = found.values()
    return Labelled(
        [file for one in whole for file in one.files],
        np.concatenate([one.labels for one in whole]),
        np.concatenate([np.full(len(one.files), parts[p], object) for p, one in found.items()]),
        reasons=["the class of each file is the name of its folder",
                 f"{folder.name} is split already: {names}"],
        notes=[f"{p.name}: {note}" for p, one in found.items() for note in one.notes],
    )  # fmt: skip


def named_by_class(files: Sequence[Path]) -> bool:
    """Return whether all names begin with a class: as in 7_jackson_32.wav, each with three files.

    >>> named_by_class([Path(f"{word}_{i}.wav") for word in ("yes", "no") for i in range(3)])
    True
    """
    found = [NAMED.match(path.stem) for path in files]
    names, counts = np.unique([m[1] for m in found if m], return_counts=True)
    return bool(len(names) > 1 and counts.min() >= _NAMED and all(found))


def by_name(files: Sequence[Path], folder: Path) -> Labelled:
    """Return files whose class is the part of their name before the first underscore or dash.

    Raises:
        DataError: a name that has neither.

    >>> by_name([Path("7_jackson_32.wav")], Path(".")).labels.tolist()
    ['7']
    """
    found = [NAMED.match(path.stem) for path in files]
    for path, match in zip(files, found, strict=True):
        if match is None:
            raise DataError(
                f"the name {path.name} does not begin with a class and an underscore or dash, as "
                f"in 7_jackson_32.wav; rename it, or put the files of each class into a folder of "
                f"its name, such as {folder / 'cat'}. {where()}"
            )
    labels = np.array([m[1] for m in found if m], object)
    first = files[0].name if files else ""
    return Labelled(list(files), labels, reasons=[
        f"the class of each file is its name up to the first underscore or dash ({first}: "
        f"{labels[0] if len(labels) else ''})"
    ])  # fmt: skip


def is_list(source: Path, suffixes: frozenset[str]) -> bool:
    """Return whether a delimited file lists files with these endings, one a row.

    >>> is_list(Path("prices.csv"), frozenset([".png"]))
    False
    """
    if source.suffix.lower() not in LISTS or not source.is_file():
        return False
    try:
        with source.open(encoding="utf-8", errors="replace") as opened:
            lines = [line for _, line in zip(range(20), opened, strict=False) if line.strip()][1:]
    except OSError:
        return False
    endings = "|".join(re.escape(s) for s in sorted(suffixes))
    ends = re.compile(rf"({endings})[\"']?\s*([,;\t|]|$)", re.IGNORECASE)
    return bool(lines) and all(ends.search(line) for line in lines)


def by_list(source: Path, suffixes: frozenset[str], settings: Settings) -> Labelled:
    r"""Return the files that a CSV or TSV lists, with a label in another column where it has one.

    ``settings.text`` names the column of files, ``settings.label`` or the target that of labels,
    ``settings.group`` one whose values stay in one part.

    Raises:
        DataError: no such column, no column of files, a line that names no file.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.png").write_bytes(b"..."), (folder / "l.csv").write_text("f,is\na.png,cat")
    >>> by_list(folder / "l.csv", frozenset([".png"]), Settings()).labels.tolist()
    ['cat']
    """
    names, rows, lines = rows_of_fields(
        read_delimited(source, settings.separator, settings.encoding)
    )
    columns = [[fields[i].strip() for fields in rows] for i in range(len(names))]
    ends = [all(Path(word).suffix.lower() in suffixes for word in column) for column in columns]
    at_file = _place(source, names, settings.text, ends.index(True) if any(ends) else None)
    if at_file is None:
        raise DataError(
            f"{source}: no column holds names of files ({', '.join(sorted(suffixes))}); name it by "
            f"the setting text. {where()}"
        )
    files = [source.parent / word for word in columns[at_file]]
    missing = [i for i, path in enumerate(files) if not path.is_file()]
    if missing:
        raise DataError(
            f"{source}: line {lines[missing[0]]} names {files[missing[0]]}, which is no file, and "
            f"so for {len(missing) - 1:,} other lines; paths are relative to the folder of the "
            f"list. {where()}"
        )
    at_label = _label_place(source, names, settings, at_file)
    labels = None if at_label is None else np.array(columns[at_label], object)
    at_group = None if settings.group is None else _place(source, names, settings.group, None)
    reasons = [f"files are those of column {names[at_file]!r}"]
    if at_label is not None:
        reasons.append(f"the class of each is that of column {names[at_label]!r}")
    groups = None if at_group is None else np.array(columns[at_group], object)
    return Labelled(files, labels, groups=groups, reasons=reasons)


def _label_place(
    source: Path, names: Sequence[str], settings: Settings, at_file: int
) -> int | None:
    given = settings.label or (settings.target[0] if settings.target else None)
    others = [i for i in range(len(names)) if i != at_file]
    usual = [i for i in others if names[i].strip().lower() in LABELS]
    default = usual[0] if usual else others[0] if len(others) == 1 else None
    return _place(source, names, given, default)


def _place(
    source: Path, names: Sequence[str], given: str | None, default: int | None
) -> int | None:
    if given is None:
        return default
    if given not in names:
        raise DataError(f"{source} has no column {given!r}; {nearest(given, names)}. {where()}")
    return list(names).index(given)


def listed_files(source: Any, suffixes: frozenset[str], what: str) -> list[Path]:
    """Return the files of a folder, a file, or a list of them, without their classes.

    Raises:
        DataError: there are none, or one does not exist.

    >>> [p.name for p in listed_files(__file__, frozenset([".py"]), "texts")]
    ['labelled_files.py']
    """
    if isinstance(source, (str, os.PathLike)):
        place = Path(source)
        if place.is_dir():
            _check_whole(place)
        found = files_within(place, suffixes) if place.is_dir() else [place]
    else:
        found = [Path(one) for one in source]
    for path in found:
        if not path.is_file():
            raise DataError(f"the file {path} does not exist; check its path. {where()}")
    if not found:
        raise DataError(f"{source} holds no {what} ({', '.join(sorted(suffixes))}). {where()}")
    return found


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] not in "._")
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be looked into ({error.strerror}); check its path and "
            f"permissions. {where()}"
        ) from error


def _any_within(folder: Path, suffixes: frozenset[str]) -> bool:
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "._"]
        if any(n[0] != "." and Path(n).suffix.lower() in suffixes for n in names):
            return True
    return False


# --- reading -----------------------------------------------------------------------------


def read_files(files: Sequence[Path], read: Callable[[Path], T]) -> tuple[list[T | None], Fault]:
    """Return what ``read`` makes of each file, on all cores, and the faults of those that fail.

    >>> def length(path):
    ...     return len(path.read_bytes())
    >>> read_files([Path(__file__)], length)[1]
    {}
    """

    def one(path: Path) -> tuple[T | None, str]:
        try:
            return read(path), ""
        except DataError as error:
            # The place that it names is in a thread, and says nothing.
            return None, str(error).removesuffix(where()).rstrip(" .")

    made: list[T | None] = []
    faults: Fault = {}
    with ThreadPoolExecutor(machine.team_size()) as pool:
        for start in range(0, len(files), _BLOCK):  # all at once would hold a future for each
            block = files[start : start + _BLOCK]
            for path, (value, fault) in zip(block, pool.map(one, block), strict=True):
                made.append(value)
                if fault:
                    faults[path] = fault
    return made, faults


def told_faults(faults: Fault, count: int, what: str) -> list[str]:
    """Return a note on files that were left out since they cannot be read.

    Raises:
        DataError: more than one file in a hundred, and more than one, or all, cannot be read.

    >>> told_faults({Path("a.png"): "the image a.png is empty"}, 500, "images")
    ['1 of 500 images cannot be read and is left out: a.png']
    """
    if not faults:
        return []
    first = list(faults.values())
    if len(faults) == count or (len(faults) > 1 and len(faults) > _SHARE * count):
        more = f"; and {len(faults) - 3:,} more" if len(faults) > 3 else ""
        raise DataError(
            f"{len(faults):,} of {count:,} {what} cannot be read, more than one in a hundred: "
            f"{'; '.join(first[:3])}{more}. {where()}"
        )
    names = ", ".join(map(str, list(faults)[:_SHOWN]))
    more = f" and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
    are = "is" if len(faults) == 1 else "are"
    return [f"{len(faults):,} of {count:,} {what} cannot be read and {are} left out: {names}{more}"]
