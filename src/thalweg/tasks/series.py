"""Time series: the next steps of columns of numbers from what they were before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.tables import Table
from thalweg.errors import ArgumentError, DataError, nearest, where
from thalweg.models.series_network import SeriesNetwork
from thalweg.tasks import reading
from thalweg.tasks.members import numbers_of_members
from thalweg.tasks.series_appraisal import appraise_series, figures_of_series
from thalweg.tasks.series_frequency import (
    Frequency,
    calendar,
    calendar_parts,
    find_season,
)
from thalweg.tasks.series_layout import Layout, find_layout
from thalweg.tasks.series_mending import Piece, mend
from thalweg.tasks.series_windows import (
    SHORTEST,
    Cuts,
    SeriesRows,
    Windows,
    cut_by_time,
    most_windows,
    stacked,
    window_length,
    windows_of,
)
from thalweg.tasks.task import Problem, Rows, Task

__all__ = ["SeriesTask", "appraise_series"]

Array = np.ndarray[Any, Any]
_HORIZON: Final = 8  # steps that are forecast where neither a person nor a calendar says
_TRAINED: Final = 20_000  # most windows that train
_HELD: Final = 5_000  # most windows that validate


@dataclass(frozen=True)
class _Learned:
    """What the training part told: scales of columns, the season, and how windows are made.

    ``naive``: for each target, how far the value one season before is off, on average.
    """

    layout: Layout
    frequency: Frequency
    length: int
    horizon: int
    season: int
    parts: tuple[str, ...]
    mean: Array
    deviation: Array
    naive: Array


class SeriesTask(Task):
    """Forecasts ``settings.horizon`` steps of ``settings.target``, or of all columns of numbers.

    ``settings.time``: the column of dates; ``settings.group``: that of the names of several series.

    >>> SeriesTask.name
    'series'
    """

    name = "series"
    turn = 30
    kind = "numbers"

    @classmethod
    def recognises(cls, source: Path, settings: Any) -> str:
        """A table is a time series if a horizon is given."""
        if not source.is_file() or source.suffix.lower() not in reading.SUFFIXES:
            return ""
        if settings.horizon is None:
            return ""
        return f"{source.name} is a table, and a horizon of {settings.horizon} steps is asked for"

    def prepare(self, source: Path) -> Problem:
        """Read and mend the series, cut them by time, scale by the training part."""
        table = reading.read_training(source, self.settings)
        layout, frequency, reasons, notes = find_layout(table, self.settings, str(source))
        horizon = self._horizon(frequency, len(table), reasons)
        pieces, mended = mend(table, layout.columns, frequency, layout.time, layout.group,
                              layout.date_format)  # fmt: skip
        notes += mended
        if not pieces:
            raise DataError(
                f"{source}: no row has a value in all of the columns "
                f"{', '.join(map(repr, layout.columns))}; leave one out (--drop). {where()}"
            )
        cuts = cut_by_time(pieces, horizon, self.settings, str(source))
        notes += [cuts.told] * bool(cuts.told)
        layout, pieces = _varying(layout, pieces, cuts, self.settings, notes)
        known = [p.values[: max(0, cuts.validation - p.first)] for p in pieces]
        known = [values for values in known if len(values) >= 2]
        found = self._season(known, layout, frequency, reasons)
        length = self._length(found, horizon, cuts, known, reasons)
        length, parts = _fitting(pieces, length, horizon, cuts, source,
                                 self.settings.length is not None)  # fmt: skip
        season = found if found <= length else 1
        self._learn(layout, frequency, length, horizon, season, known, pieces, cuts)
        if self.learned.parts:
            reasons.append(f"the calendar of a step: {', '.join(self.learned.parts)}")
        return self._problem(pieces, parts, reasons, notes)

    def read(self, source: Any) -> Rows:
        """Return the last window of each series of a table, from which its future is forecast.

        Raises:
            DataError: a column is missing, or no series has enough steps without gaps.
        """
        made, length = self._pieces(source), self.learned.length
        last: dict[str, Piece] = {p.series: p for p in made}
        usable = [p for p in last.values() if len(p) >= length]
        if not usable:
            most = max((len(p) for p in last.values()), default=0)
            raise DataError(
                f"{_called(source)} ends in {most:,} steps without gaps, and the network reads "
                f"{length}; give the last {length} steps before the forecast, or more. {where()}"
            )
        windows = Windows(np.arange(len(usable)), np.array([len(p) - length for p in usable]))
        return self._rows(usable, windows, with_truth=False)

    def read_windows(self, source: Any) -> SeriesRows:
        """Return all windows of a table with what came after each, as ``truth``.

        Raises:
            DataError: a column is missing, or no series has enough steps without gaps.
        """
        pieces, told = self._pieces(source), self.learned
        cuts = Cuts(-(2**62), -(2**62), 0)
        windows = windows_of(pieces, told.length, told.horizon, cuts)[-1] if pieces else None
        if windows is None or not len(windows):
            raise DataError(
                f"{_called(source)} has no {told.length} + {told.horizon} steps without gaps: what "
                f"the network reads, and what its forecast is compared with. Give more. {where()}"
            )
        return self._rows(pieces, windows.at_most(self._most(), self.settings.seed))

    def numbers(self, outputs: Array) -> Array:
        """Return numbers (n, horizon * targets) in the unit of their columns."""
        told, count = self.learned, len(self.targets)
        made = np.asarray(outputs, np.float64).reshape(len(outputs), -1, count)
        made = made * told.deviation[:count] + told.mean[:count]
        return made.reshape(len(outputs), -1)

    def columns(self, outputs: Array) -> dict[str, list[Any]]:
        """Return forecasts as columns: how many steps ahead, and each target."""
        made = self.numbers(outputs).reshape(len(outputs), self.learned.horizon, -1)
        steps = np.tile(np.arange(1, self.learned.horizon + 1), len(made))
        return {"step": steps.tolist()} | {
            name: made[:, :, i].ravel().tolist() for i, name in enumerate(self.targets)
        }

    def appraise(self, run: Any, problem: Problem, history: Any) -> dict[str, Any]:
        """Return the results beside those of naive forecasts."""
        return appraise_series(run, problem, history)

    def figures(self, run: Any, source: Any) -> tuple[int, dict[str, float]]:
        """Return the number of windows of a source, and the figures of the forecasts of them."""
        rows, told = self.read_windows(source), self.learned
        shape = (len(rows), told.horizon, len(self.targets))
        return len(rows), figures_of_series(
            self.numbers(run.outputs(rows)).reshape(shape),
            self.numbers(np.asarray(rows.truth)).reshape(shape), told.naive,
        )  # fmt: skip

    def columns_of(self, rows: Rows, outputs: Array) -> dict[str, list[Any]]:
        """Return forecasts as columns: the date of each step, the series, and each target."""
        if not isinstance(rows, SeriesRows):
            return self.columns(outputs)
        columns = self.columns(outputs)
        steps = columns.pop("step")
        dates = [date for row in range(len(rows)) for date in rows.dates(row)]
        layout, horizon = self.learned.layout, self.learned.horizon
        made: dict[str, list[Any]] = {}
        if layout.group is not None:
            made[layout.group] = [s for row in range(len(rows)) for s in [rows.series(row)]
                                  * horizon]  # fmt: skip
        if layout.time is None:
            return made | {"step": steps} | columns
        return made | {"date" if self.learned.frequency.has_dates else layout.time: dates} | columns

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what the training part told."""
        told = self.learned
        facts = {
            "layout": asdict(told.layout), "frequency": told.frequency.to_facts(),
            "length": told.length, "horizon": told.horizon, "season": told.season,
            "parts": list(told.parts),
        }  # fmt: skip
        return facts, {"mean": told.mean, "deviation": told.deviation, "naive": told.naive}

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take over what the training part told."""
        layout = Layout.of(facts["layout"])
        self.learned = _Learned(
            layout, Frequency.of(facts["frequency"]), int(facts["length"]), int(facts["horizon"]),
            int(facts["season"]), tuple(facts["parts"]),
            *(np.asarray(arrays[name], np.float64) for name in ("mean", "deviation", "naive")),
        )  # fmt: skip
        self.targets = layout.targets

    def importance(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """Yield each column, and the windows with its past shuffled; and the calendar."""
        shuffled = np.random.default_rng(self.settings.seed).permutation(len(rows))
        past, *rest = rows.inputs
        for place, name in enumerate(self.learned.layout.columns):
            changed = past.copy()
            changed[:, :, place] = past[shuffled][:, :, place]
            yield name, replace(rows, inputs=(changed, *rest))
        if rest:
            yield "the calendar", replace(rows, inputs=(past, rest[0][shuffled]))

    # --- parts ----------------------------------------------------------------------------

    def _pieces(self, source: Any) -> list[Piece]:
        told, layout = self.learned, self.learned.layout
        table = source
        if not isinstance(source, Table):
            table = reading.read(source, self.settings, layout.schema, only_like=True)
        for name in filter(None, (*layout.columns, layout.time, layout.group)):
            if name not in table.columns:
                raise DataError(
                    f"{_called(source)} has no column {name!r}, which the network was trained on; "
                    f"{nearest(name, table.names)}. {where()}"
                )
        return mend(table, layout.columns, told.frequency, layout.time, layout.group,
                    layout.date_format)[0]  # fmt: skip

    def _horizon(self, frequency: Frequency, rows: int, reasons: list[str]) -> int:
        if self.settings.horizon is not None:
            if self.settings.horizon < 1:
                raise ArgumentError(
                    f"horizon={self.settings.horizon}, wanted 1 or more steps. {where()}"
                )
            return self.settings.horizon
        likely = [s for s in frequency.seasons() if 10 * s <= rows]
        horizon = max(1, min(likely[0] if likely else _HORIZON, rows // 10))
        reasons.append(f"a horizon of {horizon} steps, as none was given (--horizon)")
        return horizon

    def _season(
        self, known: Sequence[Array], layout: Layout, frequency: Frequency, reasons: list[str]
    ) -> int:
        values = [v[:, : len(layout.targets)] for v in known]
        found, why = find_season(values, frequency.seasons())
        reasons.append(why)
        return found

    def _length(
        self, season: int, horizon: int, cuts: Cuts, known: Sequence[Array], reasons: list[str]
    ) -> int:
        longest = max(len(v) for v in known)
        length = self.settings.length
        if length is None:
            length = window_length(season, horizon, cuts.training, longest)
            reasons.append(f"the network reads {length} steps to forecast {horizon}")
        elif length < 1 or length + horizon > longest:
            raise DataError(
                f"a window of {length} steps with a horizon of {horizon} does not fit into the "
                f"{longest:,} steps without gaps of the training part; give a length from 1 to "
                f"{max(1, longest - horizon)}. {where()}"
            )
        return length

    def _learn(
        self, layout: Layout, frequency: Frequency, length: int, horizon: int, season: int,
        known: Sequence[Array], pieces: Sequence[Piece], cuts: Cuts,
    ) -> None:  # fmt: skip
        values = np.concatenate(known)
        first = min(p.first for p in pieces)
        deviation = values.std(axis=0)
        own = [np.abs(v[season:] - v[:-season])[:, : len(layout.targets)] for v in known]
        naive = np.concatenate(own)
        off = naive.mean(axis=0) if len(naive) else deviation[: len(layout.targets)]
        self.learned = _Learned(
            layout, frequency, length, horizon, season,
            calendar_parts(frequency, first, cuts.validation), values.mean(axis=0), deviation,
            np.where(off > 0, off, deviation[: len(layout.targets)]),
        )  # fmt: skip
        self.targets = layout.targets

    def _most(self) -> int:
        told = self.learned
        columns = len(told.layout.columns)
        return most_windows(told.length, told.horizon, columns, len(self.targets))

    def _rows(
        self, pieces: Sequence[Piece], windows: Windows, *, with_truth: bool = True
    ) -> SeriesRows:
        told, count = self.learned, len(self.learned.layout.targets)
        length, horizon = told.length, told.horizon
        scaled = [
            replace(p, values=((p.values - told.mean) / told.deviation).astype(np.float32))
            for p in pieces
        ]
        firsts = np.array([p.first for p in pieces])[windows.pieces] + windows.starts + length
        inputs = [stacked(scaled, windows, 0, length)]
        if told.parts:
            steps = firsts[:, None] + np.arange(horizon)
            inputs.append(calendar(told.frequency.times(steps), told.parts))
        truth = None
        if with_truth:
            truth = stacked(scaled, windows, length, horizon)[:, :, :count]
            truth = np.ascontiguousarray(truth.reshape(len(windows), horizon * count))

        def dates(row: int) -> list[Any]:
            steps = int(firsts[row]) + np.arange(horizon)
            return told.frequency.told(steps, told.layout.date_format)

        def series(row: int) -> str:
            return pieces[int(windows.pieces[row])].series

        def place(row: int) -> str:
            name = series(row)
            return f"the forecast from {dates(row)[0]}" + (f" of {name}" if name else "")

        def show(row: int) -> dict[str, Any]:
            made = {"from": dates(row)[0], "to": dates(row)[-1]}
            name = series(row)
            return ({told.layout.group: name} if told.layout.group and name else {}) | made

        return SeriesRows(tuple(inputs), truth, place, show, series, dates)

    def _problem(
        self, pieces: Sequence[Piece], parts: Sequence[Windows], reasons: list[str],
        notes: list[str],
    ) -> Problem:  # fmt: skip
        settings, told = self.settings, self.learned
        most = self._most()
        limits = (min(most, _TRAINED), min(most, _HELD), most)
        rows = [self._rows(pieces, w.at_most(limit, settings.seed))
                for w, limit in zip(parts, limits, strict=True)]  # fmt: skip
        if len(parts[0]) > len(rows[0]):
            reasons.append(f"{len(rows[0]):,} of {len(parts[0]):,} training windows are used: "
                           "neighbours are nearly the same")  # fmt: skip
        filled = _chosen(replace(settings, horizon=told.horizon), len(rows[0]), told.length)
        hidden, members, dropout = filled.hidden, filled.members, filled.dropout
        model = SeriesNetwork(
            told.length, told.horizon, len(told.layout.columns),
            range(len(told.layout.targets)), 2 * len(told.parts), told.season,
            (hidden or (64,))[0], members or 1, dropout or 0.0,
        ).reset_parameters(settings.seed)  # fmt: skip
        (training, validation, test) = rows
        assert training.truth is not None
        assert validation.truth is not None
        begins = model.solve((training.inputs[0], training.truth),
                             (validation.inputs[0], validation.truth))  # fmt: skip
        reasons.append(f"the linear part begins from {begins}")
        return Problem(
            model, numbers_of_members, training, validation, test, filled,
            reasons=reasons, notes=notes,
        )  # fmt: skip


def _varying(
    layout: Layout, pieces: Sequence[Piece], cuts: Cuts, settings: Any, notes: list[str]
) -> tuple[Layout, list[Piece]]:
    """Return layout and pieces without columns that never change in the training part.

    Raises:
        DataError: a target, or each of them, never changes.
    """
    known = np.concatenate([p.values[: max(0, cuts.validation - p.first)] for p in pieces])
    still = np.ptp(known, axis=0) <= 1e-9 * np.abs(known).max(axis=0)
    gone = [name for name, is_still in zip(layout.columns, still, strict=True) if is_still]
    named = [name for name in settings.target if name in gone]
    if named or set(layout.targets) <= {*gone}:
        name = (named or gone)[0]
        value = known[0, layout.columns.index(name)]
        raise DataError(
            f"the column {name!r} is {value:g} in all {len(known):,} training steps: there is "
            f"nothing to forecast. Name another column (--target). {where()}"
        )
    if gone:
        notes.append(f"left out, as they never change in the training part: {', '.join(gone)}")
    kept = replace(layout, columns=tuple(c for c in layout.columns if c not in gone),
                   targets=tuple(t for t in layout.targets if t not in gone))  # fmt: skip
    return kept, [replace(p, values=p.values[:, ~still]) for p in pieces]


def _fitting(
    pieces: Sequence[Piece], length: int, horizon: int, cuts: Cuts, source: Path, asked: bool
) -> tuple[int, list[Windows]]:
    """Return a length, shrunk if gaps leave no window otherwise, and the windows of each part.

    Raises:
        DataError: a part has no window of any length.
    """
    parts = windows_of(pieces, length, horizon, cuts)
    while not asked and length > SHORTEST and not all(map(len, parts)):
        length = max(SHORTEST, length // 2)
        parts = windows_of(pieces, length, horizon, cuts)
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if not len(part):
            raise DataError(
                f"{source}: the {name} part has no {length} + {horizon} steps without gaps, what "
                f"a window and its horizon take; give more data, fill in its gaps, or give a "
                f"shorter horizon (--horizon). {where()}"
            )
    return length, parts


def _chosen(settings: Any, windows: int, length: int) -> Any:
    """Return the settings with every choice made by the number of training windows."""
    small, large = windows < 1_000, windows >= 8_000

    def one(given: Any, else_: Any) -> Any:
        return else_ if given is None else given

    return replace(
        settings,
        network="series",
        length=length,
        hidden=one(settings.hidden, (32,) if small else (64,)),
        members=one(settings.members, 4),
        dropout=one(settings.dropout, 0.3),
        batch_size=one(settings.batch_size, 32 if small else 128 if large else 64),
        # Slow: what the linear part leaves is mostly noise, and the best epoch must not be missed.
        learning_rate=one(settings.learning_rate, 3e-4),
        weight_decay=one(settings.weight_decay, 1e-2),
        epochs=one(settings.epochs, 60 if large else 200),
        patience=one(settings.patience, 5 if large else 15),
    )


def _called(source: Any) -> str:
    return str(source) if isinstance(source, (str, Path)) else "the table"
