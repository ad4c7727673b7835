"""Windows of time series: which of them train, validate and test, and what the network gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from thalweg.errors import DataError, where
from thalweg.tasks.parts import shares
from thalweg.tasks.series_mending import Piece
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import Rows

__all__ = ["Cuts", "SeriesRows", "Windows", "cut_by_time", "window_length", "windows_of"]

Array = np.ndarray[Any, Any]
LONGEST: Final = 336  # steps of a window that is not asked for
SHORTEST: Final = 4
_FEW: Final = 3  # windows that each part has at least
_NUMBERS: Final = 1 << 25  # numbers in all windows of a part, 128 MB


@dataclass(frozen=True)
class SeriesRows(Rows):
    """Windows, and of each the name of its series and the dates of its horizon.

    ``series``: the name, empty if there is only one. ``dates``: words or numbers, one a step.
    """

    series: Callable[[int], str] = lambda row: ""
    dates: Callable[[int], list[Any]] = lambda row: []

    def take(self, rows: Array) -> SeriesRows:
        """Return some of the windows."""
        made = super().take(rows)
        return SeriesRows(
            made.inputs, made.truth, made.place, made.show,
            lambda row: self.series(int(rows[row])), lambda row: self.dates(int(rows[row])),
        )  # fmt: skip


@dataclass(frozen=True)
class Cuts:
    """The first step of validation, and of test.

    ``training``: steps before both. ``told``: what had to be changed of the shares.
    """

    validation: int
    test: int
    training: int
    told: str = ""


@dataclass(frozen=True)
class Windows:
    """Where windows begin: the place of their piece, and the row in it, (n,) each."""

    pieces: Array
    starts: Array

    def __len__(self) -> int:
        return len(self.starts)

    def at_most(self, count: int, seed: int) -> Windows:
        """Return at most so many windows, drawn evenly; the last one is always there.

        Every second or third window would prefer some hours of the day to others.
        """
        if len(self) <= count:
            return self
        drawn = np.random.default_rng(seed).permutation(len(self) - 1)[: count - 1]
        chosen = np.append(np.sort(drawn), len(self) - 1)
        return Windows(self.pieces[chosen], self.starts[chosen])


def cut_by_time(pieces: Sequence[Piece], horizon: int, settings: Settings, source: str) -> Cuts:
    """Return where validation and test begin: each holds at least a few horizons.

    Raises:
        DataError: there are too few steps; says how many are wanted.

    >>> cut_by_time([Piece("", 0, np.zeros((100, 1)))], 5, Settings(), "a file").test
    85
    """
    known = np.unique(np.concatenate([np.arange(p.first, p.first + len(p)) for p in pieces]))
    _, *wanted = shares(settings)
    least = horizon + _FEW - 1
    held = [max(round(share * len(known)), least) for share in wanted]
    training = len(known) - sum(held)
    if training < SHORTEST + least:
        enough = SHORTEST + 3 * least
        raise DataError(
            f"{source} has {len(known):,} steps without gaps; to forecast {horizon} steps at least "
            f"{enough:,} are needed: for training, validation and test a horizon of each, and some "
            f"more. Give more data, or a shorter horizon (--horizon). {where()}"
        )
    told = ""
    if held != [round(share * len(known)) for share in wanted]:
        told = (f"the series is short for a horizon of {horizon}: {held[0]} steps validate and "
                f"{held[1]} test")  # fmt: skip
    return Cuts(int(known[training]), int(known[training + held[0]]), training, told)


def window_length(season: int, horizon: int, steps: int, longest: int) -> int:
    """Return how many steps the network should read.

    At least two seasons and the horizon, and more where there is much data: a tenth of the
    training ``steps``; at most 336. No more than leaves some windows in the ``longest`` piece.

    >>> window_length(24, 24, 10_000, 10_000), window_length(12, 12, 100, 100)
    (336, 24)
    """
    wanted = min(max(2 * season if season > 1 else 2 * SHORTEST, horizon, steps // 10), LONGEST)
    room = max(SHORTEST, (longest - horizon) * 2 // 3)
    length = min(wanted, room)
    if 1 < season <= length:
        length -= length % season
    return max(length, min(SHORTEST, room))


def windows_of(pieces: Sequence[Piece], length: int, horizon: int, cuts: Cuts) -> list[Windows]:
    """Return the windows of training, validation and test: all their targets lie in that part.

    What is read may lie in an earlier part, as it is known when the forecast is made.
    """
    made: list[Windows] = []
    bounds = [(None, cuts.validation), (cuts.validation, cuts.test), (cuts.test, None)]
    for low, high in bounds:
        places, starts = [], []
        for place, piece in enumerate(pieces):
            first = 0 if low is None else max(0, low - piece.first - length)
            end = len(piece) if high is None else min(len(piece), high - piece.first)
            own = np.arange(first, end - length - horizon + 1)
            starts.append(own)
            places.append(np.full(len(own), place))
        made.append(Windows(np.concatenate(places), np.concatenate(starts)))
    return made


def most_windows(length: int, horizon: int, columns: int, targets: int) -> int:
    """Return how many windows fit into the memory that a part may take."""
    return max(1, _NUMBERS // (length * columns + horizon * (targets + 6)))


def stacked(pieces: Sequence[Piece], windows: Windows, offset: int, length: int) -> Array:
    """Return rows of all windows, (n, length, columns), from ``offset`` after their starts on."""
    width = pieces[0].values.shape[1] if pieces else 0
    made = np.zeros((len(windows), length, width), pieces[0].values.dtype)
    for place, piece in enumerate(pieces):
        own = np.flatnonzero(windows.pieces == place)
        if len(own):
            view = np.lib.stride_tricks.sliding_window_view(piece.values, length, axis=0)
            made[own] = view[windows.starts[own] + offset].transpose(0, 2, 1)
    return made
