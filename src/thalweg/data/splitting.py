"""Splits of rows into parts: random, stratified, by group and by time; folds; checks for leaks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from thalweg.data.batches import shuffled, split_rows
from thalweg.data.dataset import Dataset, Subset, as_dataset
from thalweg.errors import DataError, where

__all__ = [
    "check_leaks", "group_split", "k_fold", "random_split", "split_dataset", "stratified_split",
    "time_folds", "time_split",
]  # fmt: skip

Array = np.ndarray[Any, Any]
Parts = tuple[Array, ...]
Fractions = float | Sequence[float]


def random_split(count: int, fractions: Fractions, seed: int = 0) -> Parts:
    """Return the row numbers of disjoint parts, chosen at random, each in rising order.

    ``fractions``: the share of each part, such as (0.8, 0.1, 0.1); one number is the share of the
    second of two parts.

    Shapes: to one array (m,) of int64 for each part; together they hold 0 to ``count`` - 1.

    Raises:
        DataError: shares that are not above 0 or do not add up to 1, or a part would be empty.

    Example:
        >>> train, validation = random_split(10, 0.2)
        >>> len(train), len(validation)
        (8, 2)
    """
    sizes = _sizes("random_split", count, fractions)
    order = shuffled(count, seed)
    return tuple(np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1]))


def stratified_split(labels: Any, fractions: Fractions, seed: int = 0) -> Parts:
    """Return random parts in which every class keeps its share, as well as whole rows allow.

    ``labels``: the class of each row (n,). ``fractions``: as for ``random_split``.

    Raises:
        DataError: labels that are not (n,), a class of a single row, or bad fractions.

    Example:
        >>> labels = np.array([0] * 80 + [1] * 20)
        >>> [np.bincount(labels[part]).tolist() for part in stratified_split(labels, 0.1)]
        [[72, 18], [8, 2]]
    """
    given = _column("stratified_split", "labels", labels)
    shares = _shares("stratified_split", fractions)
    _sizes("stratified_split", len(given), shares)
    _check_rare("stratified_split", given, 2)
    rest = np.arange(len(given))
    parts: list[Array] = []
    for number in range(len(shares) - 1, 0, -1):
        share = shares[number] / sum(shares[: number + 1])
        kept, taken = split_rows(len(rest), share, seed + number, given[rest])
        parts.append(rest[taken])
        rest = rest[kept]
    return (rest, *reversed(parts))


def group_split(groups: Any, fractions: Fractions, seed: int = 0) -> Parts:
    """Return parts such that all rows of a group lie in the same one.

    So that no patient, speaker or author is both learned from and measured on. The shares are met
    as well as whole groups allow: the large groups are placed first.

    ``groups``: the group of each row (n,). ``fractions``: as for ``random_split``.

    Raises:
        DataError: groups that are not (n,), fewer groups than parts, or bad fractions.

    Example:
        >>> groups = np.array(["ann", "ann", "bob", "bob", "cem", "cem"])
        >>> [sorted(set(groups[part].tolist())) for part in group_split(groups, 1 / 3)]
        [['ann', 'cem'], ['bob']]
    """
    given = _column("group_split", "groups", groups)
    shares = _shares("group_split", fractions)
    _sizes("group_split", len(given), shares)
    codes, sizes, order = _groups("group_split", given, len(shares), seed)
    part_of = np.empty(len(sizes), np.int64)
    room = np.asarray(shares) * len(given)
    empty = np.ones(len(shares), bool)
    for place, group in enumerate(order):
        left = len(order) - place
        # The last groups go to the parts that have none yet.
        choices = np.flatnonzero(empty) if left <= empty.sum() else np.arange(len(shares))
        part = choices[room[choices].argmax()]
        part_of[group], empty[part] = part, False
        room[part] -= sizes[group]
    return tuple(np.flatnonzero(part_of[codes] == part) for part in range(len(shares)))


def time_split(times: Any, fractions: Fractions, gap: int = 0) -> Parts:
    """Return parts in the order of time: the first is the oldest, the last the newest.

    Rows of one time stay together, in the earlier part. ``times``: numbers or dates (n,), in any
    order of rows. ``gap``: rows left out before each later part, so that windows that end in one
    part do not reach into the next.

    Raises:
        DataError: times that are not (n,) or are missing, a gap that leaves a part empty, or bad
            fractions.

    Example:
        >>> [part.tolist() for part in time_split([30, 10, 20, 40], 0.25)]
        [[0, 1, 2], [3]]
    """
    given = _times("time_split", times)
    sizes = _sizes("time_split", len(given), fractions)
    order = np.argsort(given, kind="stable")
    in_order = given[order]
    cuts = [
        int(np.searchsorted(in_order, in_order[cut - 1], side="right"))
        for cut in np.cumsum(sizes)[:-1]
    ]
    starts = [0, *(cut + gap for cut in cuts)]
    parts: list[Array] = []
    for start, stop in zip(starts, [*cuts, len(given)], strict=True):
        if stop <= start:
            raise DataError(
                f"time_split: part {len(parts)} has no rows, of {len(given):,} rows with a gap of "
                f"{gap}; many rows may share one time. Give other fractions or a smaller gap. "
                f"{where()}"
            )
        parts.append(np.sort(order[start:stop]))
    return tuple(parts)


def k_fold(
    count: int, folds: int = 5, seed: int = 0, *, labels: Any = None, groups: Any = None
) -> Iterator[tuple[Array, Array]]:
    """Yield (training rows, validation rows) for each fold; every row is validated on once.

    ``labels``: (n,), each fold then holds every class in its share. ``groups``: (n,), all rows of
    a group then lie in one fold; one of the two may be given.

    Shapes: arrays of int64, each in rising order.

    Raises:
        DataError: fewer rows, rows of a class or groups than folds, or labels with groups.

    Example:
        >>> [(len(rest), part.tolist()) for rest, part in k_fold(4, folds=4, seed=1)][0][0]
        3
        >>> sorted(row for _, part in k_fold(7, folds=3) for row in part.tolist())
        [0, 1, 2, 3, 4, 5, 6]
    """
    fold_of = _fold_of(count, _folds("k_fold", folds, count), seed, labels, groups)
    return ((np.flatnonzero(fold_of != f), np.flatnonzero(fold_of == f)) for f in range(folds))


def time_folds(times: Any, folds: int = 5, gap: int = 0) -> Iterator[tuple[Array, Array]]:
    """Yield (earlier rows, the rows that follow) for each fold: training never sees the future.

    The rows are cut by time into ``folds`` + 1 parts; fold i trains on the first i and validates
    on the next. ``gap``: rows left out between the two.

    Raises:
        DataError: times that are not (n,) or are missing, or a fold would be empty.

    Example:
        >>> [(a.tolist(), b.tolist()) for a, b in time_folds([1, 2, 3], folds=2)]
        [([0], [1]), ([0, 1], [2])]
    """
    given = _times("time_folds", times)
    _folds("time_folds", folds, len(given) - 1)
    parts = time_split(given, [1 / (folds + 1)] * (folds + 1), gap)
    # What a gap leaves out before one fold is old enough for the next one to learn from.
    found = []
    for number in range(1, folds + 1):
        rows = np.arange(len(given))
        before = rows[given < given[parts[number]].min()]
        oldest = before[np.argsort(given[before], kind="stable")]
        found.append((np.sort(oldest[: len(oldest) - gap]), parts[number]))
    return iter(found)


def split_dataset(
    data: Any,
    fractions: Fractions,
    seed: int = 0,
    *,
    stratify: Any = None,
    groups: Any = None,
    times: Any = None,
    gap: int = 0,
) -> tuple[Subset, ...]:
    """Return disjoint parts of a data set, at random unless told otherwise; nothing is copied.

    ``data``: a ``Dataset`` or arrays. ``stratify``: labels (n,), or True for the data set's own.
    ``groups``: (n,), all rows of a group stay together. ``times``: (n,), the parts follow one
    another in time, with ``gap`` rows left out between them. At most one of the three.

    Raises:
        DataError: more than one way to split, no labels to stratify by, or as the split raises.

    Example:
        >>> train, validation = split_dataset((np.arange(8.0), np.arange(8) % 2), 0.25)
        >>> len(train), len(validation)
        (6, 2)
    """
    dataset: Dataset = as_dataset(data)
    ways = {"stratify": stratify, "groups": groups, "times": times}
    chosen = [name for name, value in ways.items() if value is not None and value is not False]
    if len(chosen) > 1:
        raise DataError(
            f"split_dataset: got {' and '.join(chosen)}; give one of stratify, groups and times. "
            f"{where()}"
        )
    for name in chosen:
        if ways[name] is not True and len(ways[name]) != len(dataset):
            raise DataError(
                f"split_dataset: {name} has {len(ways[name]):,} values for {len(dataset):,} rows; "
                f"give one a row. {where()}"
            )
    if stratify is True:
        stratify = getattr(dataset, "labels", None)
        if stratify is None:
            raise DataError(
                "split_dataset: stratify is True, but the data set has no labels; give the class "
                f"of each row. {where()}"
            )
    if not chosen:
        parts = random_split(len(dataset), fractions, seed)
    elif groups is not None:
        parts = group_split(groups, fractions, seed)
    elif times is not None:
        parts = time_split(times, fractions, gap)
    else:
        parts = stratified_split(stratify, fractions, seed)
    return tuple(Subset(dataset, part) for part in parts)


def check_leaks(*parts: Any, groups: Any = None, times: Any = None, samples: Any = None) -> None:
    """Raise if one part holds what belongs to another; the first part is the training part.

    ``parts``: row numbers of each part. A row in two parts is always a leak; with ``groups`` (n,)
    so is a group in two parts, with ``times`` (n,) a row of a later part that is not newer than
    all rows of the part before, with ``samples`` (n, ...) a sample that is equal, byte for byte,
    to one of another part.

    Raises:
        DataError: a leak, with its rows and how many there are.

    Example:
        >>> check_leaks([0, 1], [2, 3], groups=["a", "a", "b", "b"])
        >>> try:
        ...     check_leaks([0, 1], [1, 2])
        ... except DataError as error:
        ...     print(str(error)[:28])
        part 1 holds row 1 of part 0
    """
    rows = [np.asarray(part, np.int64) for part in parts]
    for later in range(1, len(rows)):
        for earlier in range(later):
            pair = (rows[earlier], rows[later])
            _check_shared(pair, (earlier, later), "row", None)
            if groups is not None:
                _check_shared(pair, (earlier, later), "group", np.asarray(groups))
            if samples is not None:
                _check_shared(pair, (earlier, later), "sample", _digests(np.asarray(samples)))
    if times is not None:
        _check_times(rows, _times("check_leaks", times))


# --- what the splits share -----------------------------------------------------------------------


def _shares(who: str, fractions: Fractions) -> tuple[float, ...]:
    """Return the share of each part; they add up to 1."""
    given = np.atleast_1d(np.asarray(fractions, np.float64))
    made = (1 - given[0].item(), given[0].item()) if given.size == 1 else tuple(given.tolist())
    if len(made) < 2 or min(made) <= 0 or abs(sum(made) - 1) > 1e-6:
        raise DataError(
            f"{who}: fractions are {fractions!r}, wanted shares above 0 that add up to 1, such as "
            f"(0.8, 0.1, 0.1), or the share of the second of two parts, such as 0.2. {where()}"
        )
    return made


def _sizes(who: str, count: int, fractions: Fractions) -> list[int]:
    """Return the rows of each part: rounded at the cuts, so that they add up."""
    shares = _shares(who, fractions)
    cuts = [0, *(round(count * share) for share in np.cumsum(shares)[:-1]), count]
    sizes = [stop - start for start, stop in itertools.pairwise(cuts)]
    if min(sizes) < 1:
        raise DataError(
            f"{who}: fractions {fractions} of {count:,} rows leave parts of {sizes} rows, and "
            f"every part needs one; give more data or other fractions. {where()}"
        )
    return sizes


def _column(who: str, name: str, values: Any) -> Array:
    given = np.asarray(values)
    if given.ndim != 1 or not len(given):
        raise DataError(
            f"{who}: {name} have shape {given.shape}, wanted one value for each row. {where()}"
        )
    return given


def _times(who: str, times: Any) -> Array:
    given = _column(who, "times", times)
    if given.dtype.kind in "OUS":
        try:
            given = given.astype("datetime64")
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{who}: times are of dtype {given.dtype} and not all dates like 2026-01-31; give "
                f"numbers or datetime64 ({error}). {where()}"
            ) from error
    kind = given.dtype.kind
    missing = (
        np.isnat(given) if kind in "mM" else np.isnan(given) if kind == "f" else given != given
    )
    if missing.any():
        raise DataError(
            f"{who}: the time of row {int(missing.argmax())} is missing, as are "
            f"{int(missing.sum()) - 1} others; fill them in, or leave those rows out. {where()}"
        )
    return given


def _folds(who: str, folds: int, rows: int) -> int:
    if not 2 <= folds <= rows:
        raise DataError(
            f"{who}: {folds} folds of {rows:,} rows; give 2 to {rows:,} folds. {where()}"
        )
    return folds


def _check_rare(who: str, labels: Array, least: int) -> None:
    classes, sizes = np.unique(labels, return_counts=True)
    rare = sizes.argmin()
    if sizes[rare] < least:
        raise DataError(
            f"{who}: class {classes[rare].item()!r} has {sizes[rare]} rows, at least {least} are "
            f"needed; join rare classes, add rows, or split without labels. {where()}"
        )


def _groups(who: str, groups: Array, parts: int, seed: int) -> tuple[Array, Array, Array]:
    """Return the code of each row, the size of each group, and the groups from the largest on."""
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < parts:
        raise DataError(
            f"{who}: {len(names)} groups for {parts} parts; every part needs at least one. "
            f"{where()}"
        )
    order = shuffled(len(names), seed)
    return codes, sizes, order[np.argsort(-sizes[order], kind="stable")]


def _fold_of(count: int, folds: int, seed: int, labels: Any, groups: Any) -> Array:
    if labels is not None and groups is not None:
        raise DataError(f"k_fold: got labels and groups; give one of them. {where()}")
    fold_of = np.empty(count, np.int64)
    for name, column in (("labels", labels), ("groups", groups)):
        if column is not None and len(column) != count:
            raise DataError(f"k_fold: {len(column):,} {name} for {count:,} rows. {where()}")
    if groups is not None:
        codes, sizes, order = _groups("k_fold", _column("k_fold", "groups", groups), folds, seed)
        held, fold_of_group = np.zeros(folds, np.int64), np.empty(len(sizes), np.int64)
        for group in order:
            fold_of_group[group] = held.argmin()
            held[fold_of_group[group]] += sizes[group]
        return fold_of_group[codes]
    order = shuffled(count, seed)
    if labels is not None:
        given = _column("k_fold", "labels", labels)
        _check_rare("k_fold", given, folds)
        # Sorted by class, rows are dealt in turn: each fold gets its share of each class.
        codes = np.unique(given, return_inverse=True)[1]
        order = order[np.argsort(codes[order], kind="stable")]
    fold_of[order] = np.arange(count) % folds
    return fold_of


def _check_shared(
    pair: tuple[Array, Array], numbers: tuple[int, int], what: str, values: Array | None
) -> None:
    first, second = pair if values is None else (values[pair[0]], values[pair[1]])
    shared = np.isin(second, first)
    if not shared.any():
        return
    at = int(shared.argmax())
    row = int(pair[1][at])
    told = {
        "row": f"row {row} of part {numbers[0]}",
        "group": f"group {second[at].item()!r} of part {numbers[0]}, in row {row}",
        "sample": f"in row {row} a sample equal to row "
        f"{int(pair[0][np.flatnonzero(first == second[at])[0]])} of part {numbers[0]}",
    }[what]
    raise DataError(
        f"part {numbers[1]} holds {told}, and so for {int(shared.sum()) - 1:,} other rows: what "
        f"is measured there was learned from. Split again so that it stays in one part. {where()}"
    )


def _check_times(rows: list[Array], times: Array) -> None:
    for later in range(1, len(rows)):
        newest = times[rows[later - 1]].max()
        early = times[rows[later]] <= newest
        if early.any():
            row = int(rows[later][early.argmax()])
            raise DataError(
                f"part {later} holds row {row} of time {times[row]}, which is not after the "
                f"newest of part {later - 1}, {newest}, and so for {int(early.sum()) - 1:,} other "
                f"rows; the future was learned from. Split with time_split. {where()}"
            )


def _digests(samples: Array) -> Array:
    """Return the bytes of each sample as one value that can be compared."""
    rows = np.ascontiguousarray(samples).reshape(len(samples), -1)
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
