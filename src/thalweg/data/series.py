"""Time series: windows of the past and the steps that follow; order and gaps are checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.data.dataset import Arrays, Source
from thalweg.errors import DataError, where

__all__ = ["WindowDataset", "find_gaps"]

Array = np.ndarray[Any, Any]
_SHOWN = 3  # gaps told in an error


class WindowDataset(Source):
    """Windows of a time series, and the steps after each as its target.

    Window i holds ``length`` steps from step i * ``stride`` on; its target is the ``horizon``
    steps that follow. ``values``: (time,) or (time, features). ``targets``: (time,) or (time,
    outputs), left out the values themselves. ``times``: numbers or dates (time,), checked to
    rise. ``gaps``: what to do about times that are further apart than usual: ``"error"``,
    ``"skip"`` the windows across them, or ``"keep"`` all; the attribute ``gaps`` lists them.

    Parts for training and validation are cut from the series before windows are made
    (``time_split``), so that no window of one part reaches into the other.

    Shapes: windows (batch, length, features) and targets (batch, horizon, outputs); without the
    last axis for values or targets of shape (time,).

    Raises:
        DataError: a series that is too short, times out of order or missing (with the row), gaps
            with ``gaps="error"``, values that are missing or infinite, or several lengths.

    Example:
        >>> windows = WindowDataset(np.arange(6.0), length=3, horizon=2)
        >>> [column.tolist() for column in windows.fetch(np.array([1]))]
        [[[1.0, 2.0, 3.0]], [[4.0, 5.0]]]
        >>> len(windows)
        2
    """

    names = ("window", "horizon")
    in_memory = True

    def __init__(
        self,
        values: Any,
        length: int,
        horizon: int = 1,
        *,
        stride: int = 1,
        targets: Any = None,
        times: Any = None,
        gaps: str = "error",
    ) -> None:
        self.values = _numbers("values", values)
        self.targets = self.values if targets is None else _numbers("targets", targets)
        self.length, self.horizon = length, horizon
        if min(length, horizon, stride) < 1:
            raise DataError(
                f"WindowDataset: length {length}, horizon {horizon} and stride {stride}; each must "
                f"be 1 or more. {where()}"
            )
        if len(self.targets) != len(self.values):
            raise DataError(
                f"WindowDataset: {len(self.values):,} values and {len(self.targets):,} targets; "
                f"give one target for each time step. {where()}"
            )
        if len(self.values) < length + horizon:
            raise DataError(
                f"WindowDataset: the series has {len(self.values):,} steps, and a window with its "
                f"horizon takes {length} + {horizon}; give more data or shorter windows. {where()}"
            )
        self.starts = np.arange(0, len(self.values) - length - horizon + 1, stride)
        self.times = None if times is None else np.asarray(times)
        self.gaps: list[int] = []
        if self.times is not None:
            self._use_times(gaps)

    def __len__(self) -> int:
        return len(self.starts)

    def fetch(self, rows: Array) -> Arrays:
        """Return the windows of these numbers, and what follows each."""
        starts = self.starts[rows][:, None]
        past = starts + np.arange(self.length)
        future = starts + np.arange(self.length, self.length + self.horizon)
        return self.values[past], self.targets[future]

    def describe(self, row: int) -> str:
        """Say at which step, and when, a window starts."""
        start = int(self.starts[row])
        when = "" if self.times is None else f" ({self.times[start]})"
        return f"window {int(row)}, steps {start} to {start + self.length - 1}{when}"

    def _use_times(self, gaps: str) -> None:
        """Check the order of times, and leave out or refuse windows across gaps."""
        if gaps not in ("error", "skip", "keep"):
            raise DataError(
                f"WindowDataset: gaps={gaps!r}, wanted 'error', 'skip' or 'keep'. {where()}"
            )
        assert self.times is not None
        if len(self.times) != len(self.values):
            raise DataError(
                f"WindowDataset: {len(self.times):,} times for {len(self.values):,} values; give "
                f"one a step. {where()}"
            )
        self.gaps = find_gaps(self.times)
        if not self.gaps or gaps == "keep":
            return
        if gaps == "error":
            told = ", ".join(
                f"row {row} ({self.times[row - 1]} to {self.times[row]})"
                for row in self.gaps[:_SHOWN]
            )
            raise DataError(
                f"WindowDataset: {len(self.gaps)} gaps in time, before {told}"
                f"{' and others' if len(self.gaps) > _SHOWN else ''}; fill them in, give "
                f'gaps="skip" to leave out windows across them, or gaps="keep". {where()}'
            )
        # The first gap after a start must lie past the end of its window and horizon.
        places = np.searchsorted(self.gaps, self.starts, side="right")
        first = np.append(self.gaps, len(self.values))[places]
        self.starts = self.starts[self.starts + self.length + self.horizon <= first]
        if not len(self.starts):
            raise DataError(
                f"WindowDataset: no window of {self.length} + {self.horizon} steps fits between "
                f"the {len(self.gaps)} gaps; fill them in, or give shorter windows. {where()}"
            )


def find_gaps(times: Any) -> list[int]:
    """Return the rows before which more time passed than usual: more than 1.5 median steps.

    Data of working days has such a gap each weekend, which ``gaps="keep"`` accepts. Months count
    as equal: dates that all fall on one day of the month are taken as months.

    ``times``: numbers, datetime64 or texts like 2026-01-31 (time,), rising.

    Raises:
        DataError: times that are missing, equal or out of order, with the row.

    Example:
        >>> find_gaps(np.array(["2026-01-01", "2026-01-02", "2026-01-04"], "datetime64[D]"))
        [2]
    """
    given = np.asarray(times)
    if given.ndim != 1:
        raise DataError(f"times have shape {given.shape}, wanted (time,). {where()}")
    if given.dtype.kind in "OUS":
        given = _dates(given)
    if given.dtype.kind == "M":
        missing, given = np.isnat(given), _monthly(given)
    else:
        given = given.astype(np.float64)
        missing = ~np.isfinite(given)
    if missing.any():
        raise DataError(
            f"the time of row {int(missing.argmax())} is missing; fill it in, or leave the row "
            f"out. {where()}"
        )
    steps = np.diff(given).astype(np.float64)
    back = np.flatnonzero(steps <= 0)
    if len(back):
        row = int(back[0]) + 1
        what = "is the same as" if steps[back[0]] == 0 else "comes before"
        shown = np.asarray(times)
        raise DataError(
            f"times are out of order: row {row} ({shown[row]}) {what} row {row - 1} "
            f"({shown[row - 1]}), and so for {len(back) - 1:,} other rows; sort the rows by time "
            f"and keep one of each. {where()}"
        )
    if not len(steps):
        return []
    usual = np.sort(steps)[(len(steps) - 1) // 2]
    return [int(row) + 1 for row in np.flatnonzero(steps > 1.5 * usual)]


def _dates(given: Array) -> Array:
    try:
        return given.astype("datetime64")
    except (ValueError, TypeError):
        pass
    for row, text in enumerate(given):
        try:
            np.datetime64(str(text))
        except ValueError as error:
            raise DataError(
                f"the time of row {row} is {str(text)!r}, which is no date like 2026-01-31 or "
                f"2026-01-31 12:00; give datetime64, or numbers. {where()}"
            ) from error
    return given.astype(str).astype("datetime64")


def _monthly(given: Array) -> Array:
    """Return dates as months where all fall on one day of the month at one time of the day."""
    months = given.astype("datetime64[M]")
    rest = given - months
    same = len(given) > 1 and not np.isnat(given).any() and (rest == rest[0]).all()
    # Days of one month are not months: two rows of one month would become one time.
    return months if same and (np.diff(months).astype(np.int64) > 0).all() else given


def _numbers(name: str, values: Any) -> Array:
    given = np.asarray(values)
    if given.ndim not in (1, 2) or given.dtype.kind not in "fiub":
        raise DataError(
            f"WindowDataset: {name} have shape {given.shape} and dtype {given.dtype}, wanted "
            f"numbers (time,) or (time, features). {where()}"
        )
    bad = ~np.isfinite(given)
    if bad.any():
        row = int(np.argmax(bad if given.ndim == 1 else bad.any(axis=1)))
        raise DataError(
            f"WindowDataset: row {row} of the {name} is missing or infinite, as are "
            f"{int(bad.sum()) - 1:,} other numbers; fill them in, or cut the series there. "
            f"{where()}"
        )
    return given
