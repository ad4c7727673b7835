"""Tables larger than memory: a sample tells what they are, the other rows train from the disk."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data import ArrayWriter
from thalweg.data.features.transformer import is_missing
from thalweg.data.table_blocks import TableBlocks
from thalweg.data.tables import Table
from thalweg.tasks.reading import sampled
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import Rows

__all__ = ["Allowed", "LargeTable"]

Array = np.ndarray[Any, Any]
SAMPLE: Final = 300_000  # rows: a share of them is known to a fifth of a percent


@dataclass(frozen=True)
class LargeTable:
    """A file that is read in blocks, and the sample of its rows that memory holds.

    Kinds, classes, scales, the network's size, validation and test come of the sample; all that is
    left of the file trains.

    ``blocks``: the file. ``sample``: a table of some of its rows. ``chosen``: which of each block.
    """

    blocks: TableBlocks
    sample: Table
    chosen: list[Array]

    @classmethod
    def read(cls, blocks: TableBlocks, settings: Settings) -> LargeTable:
        """Return a file with a sample of its rows.

        Raises:
            DataError: the file cannot be read.
        """
        return cls(blocks, *sampled(blocks, settings, SAMPLE))

    def note(self) -> str:
        """Return what people should know of it."""
        return (
            f"{self.blocks.path.name} is large and is read in blocks: {len(self.sample):,} of its "
            "rows, drawn at random, tell kinds, classes and scales, and are split; the others train"
        )

    def training(
        self,
        first: Rows,
        allowed: Allowed,
        rows_of: Callable[[Table], Rows],
        folder: Path | None,
        notes: list[str],
    ) -> tuple[Rows, RowFiles]:
        """Return all training rows, mapped, and what keeps their files as long as it is kept.

        ``first``: those of the sample. ``allowed``: which others may train. ``rows_of``: what makes
        rows of a table. ``folder``: where they may lie; left out, among temporary files.

        Raises:
            DataError: a block cannot be read, or the disk is full.
        """
        files = RowFiles(folder)
        writer = ArrayWriter(files.place)
        assert first.truth is not None
        writer.add(*first.inputs, first.truth)
        for table in self.blocks.tables(self.sample.schema, leave=self.chosen):
            kept = np.flatnonzero(allowed.of(table))
            if len(kept):
                rows = rows_of(table.take(kept) if len(kept) < len(table) else table)
                assert rows.truth is not None
                writer.add(*rows.inputs, rows.truth)
        notes += allowed.notes()
        *inputs, truth = writer.arrays()
        return Rows(tuple(inputs), truth), files


class RowFiles:
    """A folder of rows, which goes when nothing holds on to this object any more.

    ``place``: a new folder in the one given, or among temporary files if that is None.
    """

    def __init__(self, folder: Path | None) -> None:
        self.place = Path(tempfile.mkdtemp(dir=folder, prefix=".rows-"))
        weakref.finalize(self, shutil.rmtree, self.place, ignore_errors=True)


class Allowed:
    """Which rows beyond the sample may train: with a target that is known, and leaking nothing.

    ``kept``: the rows of the sample that have a target. ``held``: those of them that validate or
    test. ``classes``: whether the targets are classes.
    """

    def __init__(self, settings: Settings, kept: Table, held: Array, classes: bool) -> None:
        self.targets, self.group, self.time = settings.target, settings.group, settings.time
        self.known = set(_keys(kept.column(self.targets[0]))) if classes else None
        self.groups = set(_keys(kept.column(self.group)[held])) if self.group else None
        self.before = kept.column(self.time)[held].min() if self.time else None
        self.counts = dict.fromkeys(("target", "class", "group", "time"), 0)

    def of(self, table: Table) -> Array:
        """Return whether each row may train (n,), and count the others."""
        allowed = np.ones(len(table), bool)
        missing = np.any([is_missing(table.column(name)) for name in self.targets], axis=0)
        self._refuse(allowed, missing, "target")
        if self.known is not None:
            self._refuse(allowed, ~_among(table.column(self.targets[0]), self.known), "class")
        if self.groups is not None and self.group is not None:
            self._refuse(allowed, _among(table.column(self.group), self.groups), "group")
        if self.time is not None:
            self._refuse(allowed, ~(table.column(self.time) < self.before), "time")
        return allowed

    def _refuse(self, allowed: Array, refused: Array, why: str) -> None:
        self.counts[why] += int((allowed & refused).sum())
        allowed &= ~refused

    def notes(self) -> list[str]:
        """Return sentences on the rows that were left out."""
        told = {
            "target": "rows beyond the sample have no target and are left out",
            "class": "rows are of classes that the sample does not have, and are left out",
            "group": "rows are of groups that validate or test, and do not train",
            "time": "rows are not from before those that validate or test, and do not train",
        }
        return [f"{count:,} {told[why]}" for why, count in self.counts.items() if count]


def _keys(values: Array) -> list[Any]:
    """Return values by which they are told apart: what is missing is one of them."""
    return [value if value == value else None for value in values.tolist()]


def _among(values: Array, known: set[Any]) -> Array:
    """Return whether each value is one of those known (n,)."""
    return np.fromiter((key in known for key in _keys(values)), bool, len(values))
