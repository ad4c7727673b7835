"""Whether files of classes can be learned from, and which train, validate and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.splitting import group_split, random_split, stratified_split
from thalweg.errors import DataError, nearest, where
from thalweg.tasks.labelled_files import Labelled
from thalweg.tasks.parts import shares, split_labels
from thalweg.tasks.settings import Settings

__all__ = [
    "check_classes", "check_learnable", "class_order", "notes_of_copies", "split_files",
]  # fmt: skip

Array = np.ndarray[Any, Any]
_FEWEST: Final = 10  # files in all


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes in their order: by number if all are whole numbers.

    >>> class_order(["10", "9", "9"]), class_order(["dog", "cat"])
    (('9', '10'), ('cat', 'dog'))
    """
    names = {str(label) for label in labels}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def check_learnable(found: Labelled, source: Path, what: str) -> tuple[str, ...]:
    """Return the classes of files that can be learned from.

    Raises:
        DataError: too few files, one class only, labels that are missing or nearly all different.

    >>> check_learnable(Labelled([Path("a")] * 10, np.array(["a", "b"] * 5)), Path("x"), "images")
    ('a', 'b')
    """
    if found.labels is None:
        raise DataError(
            f"{source} has no column of labels; name it by --set label=NAME. {where()}"
        )
    count = len(found.files)
    if count < _FEWEST:
        raise DataError(
            f"{source} has {count} {what}; at least {_FEWEST} are needed to train, validate and "
            f"test. {where()}"
        )
    empty = [i for i, label in enumerate(found.labels) if not label]
    if empty:
        raise DataError(
            f"{source}: {found.files[empty[0]].name} has no label, and so for {len(empty) - 1:,} "
            f"others; fill them in, or leave them out. {where()}"
        )
    classes = class_order(found.labels)
    if len(classes) == 1:
        raise DataError(
            f"{source}: all {count:,} {what} are of the one class {classes[0]!r}, so there is "
            f"nothing to tell apart; add {what} of another. {where()}"
        )
    if len(classes) > count / 2:
        raise DataError(
            f"{source}: {count:,} {what} have {len(classes):,} different labels, such as "
            f"{classes[0]!r} and {classes[1]!r}; wanted classes with several {what} each. {where()}"
        )
    return classes


def check_classes(labels: Array, classes: Sequence[str], source: Any) -> Array:
    """Return the numbers (n,) int64 of labels.

    Raises:
        DataError: a label that no class has.

    >>> check_classes(np.array(["b", "a"]), ("a", "b"), "x").tolist()
    [1, 0]
    """
    number = {name: i for i, name in enumerate(classes)}
    for label in labels:
        if label not in number:
            raise DataError(
                f"{source}: the class {label!r} was not among those that the network was trained "
                f"on; {nearest(str(label), classes)}. {where()}"
            )
    return np.array([number[label] for label in labels], np.int64)


def split_files(
    found: Labelled, settings: Settings, notes: list[str]
) -> tuple[Array, Array, Array]:
    """Return the rows (n,) of the training, validation and test part.

    Parts that the source has stay as they are; what is missing is taken from the training part.

    Raises:
        DataError: a part would be empty, or there are fewer than three groups.

    >>> found = Labelled([Path("a")] * 20, np.array(["a", "b"] * 10))
    >>> [len(part) for part in split_files(found, Settings(), [])]
    [14, 3, 3]
    """
    assert found.labels is not None
    labels = found.labels.astype(str)
    wanted = shares(settings)
    if found.parts is None:
        if found.groups is None:
            return split_labels(labels, settings, notes)
        first, second, third = group_split(found.groups.astype(str), wanted, settings.seed)
        return first, second, third
    training, held, test = (
        np.flatnonzero(found.parts == part) for part in ("training", "validation", "test")
    )
    if len(held) and len(test):
        return training, held, test
    share = wanted[2] / (1 - wanted[1]) if len(held) else wanted[1] / (1 - wanted[2])
    groups = None if found.groups is None else found.groups[training].astype(str)
    kept, taken = _two(labels[training], groups, share, settings.seed)
    training, taken = training[kept], training[taken]
    return (training, held, taken) if len(held) else (training, taken, test)


def _two(labels: Array, groups: Array | None, share: float, seed: int) -> tuple[Array, Array]:
    """Return two parts; classes of one row stay in the first."""
    if groups is not None:
        first, second = group_split(groups, share, seed)
        return first, second
    names, counts = np.unique(labels, return_counts=True)
    alone = np.isin(labels, names[counts < 2])
    rest = np.flatnonzero(~alone)
    if not len(rest):
        first, second = random_split(len(labels), share, seed)
        return first, second
    first, second = stratified_split(labels[rest], share, seed)
    return np.sort(np.concatenate([rest[first], np.flatnonzero(alone)])), rest[second]


def notes_of_copies(made: Array, parts: Sequence[Array], what: str) -> list[str]:
    """Return a note on samples (n, ...) of the test part that are in the training part too.

    >>> notes_of_copies(np.array([[1], [2], [1]]), [np.array([0]), np.array([1]), np.array([2])],
    ...                 "images")
    ['1 images of the test part are also in the training part: the same numbers']
    """

    def digest(row: int) -> bytes:
        return hashlib.blake2b(made[row].tobytes(), digest_size=16).digest()

    known = {digest(row) for row in parts[0]}
    copies = sum(digest(row) in known for row in parts[-1])
    told = f"{copies:,} {what} of the test part are also in the training part: the same numbers"
    return [told] if copies else []
