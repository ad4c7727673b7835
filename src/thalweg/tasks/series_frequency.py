"""How far apart the steps of a time series are, and after how many of them it is like itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

__all__ = ["Frequency", "calendar", "calendar_parts", "find_frequency", "find_season"]

Array = np.ndarray[Any, Any]
_SECOND: Final = 1_000_000  # microseconds, the unit of dates
_DAY: Final = 86_400 * _SECOND
_LONGEST: Final = 336  # steps of a season, as of a window
_SAMPLES: Final = 20_000  # last steps that are looked at for a season
_SURE: Final = 0.15  # least autocorrelation of a season, and half the height of one not expected
_UNITS: Final = (
    (7 * _DAY, "week"), (_DAY, "day"), (3600 * _SECOND, "hour"), (60 * _SECOND, "minute"),
    (_SECOND, "second"), (1, "microsecond"),
)  # fmt: skip


@dataclass(frozen=True)
class Frequency:
    """The steps of a series: a number for each date, and a date for each number.

    ``kind``: ``"rows"`` (no dates: the steps are the rows), ``"numbers"``, ``"time"``, ``"months"``
    or ``"weekdays"`` (Monday to Friday). ``step``: how far apart steps are: microseconds, months,
    or in the unit of the numbers. ``origin``: step 0, in microseconds since 1970, or a number.
    ``day``: of the month, from 0 on; 31 for the last one.

    Example:
        >>> dates = np.array(["2024-01-31", "2024-02-29", "2024-03-31"], "datetime64[us]")
        >>> found = find_frequency(dates)
        >>> found.words, found.steps(dates).tolist(), str(found.times(np.array([3]))[0])[:10]
        ('every month', [0, 1, 2], '2024-04-30')
    """

    kind: str = "rows"
    step: float = 1
    origin: float = 0
    day: int = 0

    @property
    def words(self) -> str:
        """The frequency in words."""
        if self.kind == "rows":
            return "row by row"
        if self.kind == "numbers":
            return f"every {self.step:g}"
        if self.kind == "weekdays":
            return "every working day"
        if self.kind == "months":
            known = {1: "every month", 3: "every quarter", 12: "every year"}
            return known.get(int(self.step), f"every {int(self.step)} months")
        size, name = next(u for u in _UNITS if self.step % u[0] == 0)
        count = int(self.step // size)
        return f"every {name}" if count == 1 else f"every {count} {name}s"

    @property
    def has_dates(self) -> bool:
        """Whether there is a calendar."""
        return self.kind in ("time", "months", "weekdays")

    @property
    def per_day(self) -> float:
        """Steps of a day, 0 if there is no calendar or a step is longer."""
        return _DAY / self.step if self.kind == "time" and self.step <= _DAY else 0

    def seasons(self) -> tuple[int, ...]:
        """Return the seasons, in steps, that a series of this frequency may well have."""
        if self.kind == "weekdays":
            return (5,)
        if self.kind == "months":
            return (int(12 // self.step),) if self.step <= 6 and 12 % self.step == 0 else ()
        if self.kind != "time":
            return ()
        likely = [3600 * _SECOND, _DAY, 7 * _DAY]
        made = [int(s // self.step) for s in likely if s % self.step == 0 and s > self.step]
        if self.step == 7 * _DAY:
            made.append(52)
        return tuple(s for s in made if 2 <= s <= _LONGEST)

    def steps(self, times: Array) -> Array:
        """Return the nearest step of dates or numbers (n,), as whole numbers."""
        if self.kind == "rows":
            return np.arange(len(times))
        if self.kind == "numbers":
            return np.asarray(np.rint((times - self.origin) / self.step), np.int64)
        origin = _date(self.origin)
        if self.kind == "months":
            apart = (times.astype("M8[M]") - origin.astype("M8[M]")).astype(np.int64)
            return np.asarray(apart // int(self.step))
        if self.kind == "weekdays":
            first = origin.astype("M8[D]")
            return np.asarray(np.busday_count(first, times.astype("M8[D]")), np.int64)
        apart = (times.astype("M8[us]") - origin).astype(np.int64)
        return np.asarray(np.rint(apart / self.step), np.int64)

    def times(self, steps: Array) -> Array:
        """Return the dates, or numbers, of steps (n,)."""
        if self.kind in ("rows", "numbers"):
            made = self.origin + steps * self.step
            return np.rint(made).astype(np.int64) if float(self.step).is_integer() else made
        origin = _date(self.origin)
        clock = origin - origin.astype("M8[D]")
        if self.kind == "months":
            months = origin.astype("M8[M]") + steps * int(self.step)
            length = ((months + 1).astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
            return np.asarray(months.astype("M8[D]") + np.minimum(self.day, length - 1) + clock)
        if self.kind == "weekdays":
            return np.asarray(np.busday_offset(origin.astype("M8[D]"), steps) + clock)
        return np.asarray(origin + (steps * int(self.step)).astype("m8[us]"))

    def told(self, steps: Array, date_format: str | None) -> list[Any]:
        """Return the dates of steps (n,) as they were written, or numbers."""
        times = self.times(steps)
        if not self.has_dates:
            return list(times.tolist())
        form = date_format if date_format and "%z" not in date_format else None
        dates: list[datetime] = times.astype("M8[us]").tolist()
        if form is None:
            whole = all((d.hour, d.minute, d.second, d.microsecond) == (0, 0, 0, 0) for d in dates)
            return [d.date().isoformat() if whole else d.isoformat(" ") for d in dates]
        return [d.strftime(form) for d in dates]

    def to_facts(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Frequency:
        """Return the frequency of what ``to_facts`` gave."""
        return cls(**facts)


def find_frequency(times: Array) -> Frequency:
    """Return the frequency of dates or numbers (n,), in any order; at least two must differ.

    The distance that most neighbours have is the step. Dates of which no month has two are
    months, quarters or years; days without any weekend are working days.

    Example:
        >>> find_frequency(np.array(["2024-01-01T06", "2024-01-01T00", "2024-01-01T12"], "M8[us]"))
        Frequency(kind='time', step=21600000000, origin=1704067200000000, day=0)
    """
    known = np.unique(times)
    if known.dtype.kind != "M":
        return Frequency("numbers", _common(np.diff(known)), float(known[0]))
    dates = known.astype("M8[us]")
    origin = int(dates[0].astype(np.int64))
    apart = np.diff(dates).astype(np.int64)
    months = np.diff(dates.astype("M8[M]")).astype(np.int64)
    if (months >= 1).all() and np.median(apart) >= 28 * _DAY:
        return Frequency("months", int(_common(months)), origin, _day_of_month(dates))
    step = int(_common(apart))
    days = dates.astype("M8[D]")
    working = np.is_busday(days).all() and days[-1] - days[0] >= np.timedelta64(7, "D")
    if step == _DAY and working and (apart % _DAY == 0).all():
        return Frequency("weekdays", 1, origin)
    return Frequency("time", step, origin)


def find_season(pieces: Sequence[Array], likely: Sequence[int]) -> tuple[int, str]:
    """Return after how many steps series are like themselves, 1 if they are not, and why.

    ``pieces``: arrays (time, columns) without missing values. ``likely``: seasons that are asked
    about first. A season is a peak of the autocorrelation. Of others than the likely ones, what
    counts is the height above the valleys half a season to each side, so that a trend makes none.
    Of peaks nearly as high as the highest the first is taken: each multiple of a season is one too.

    Example:
        >>> wave = np.sin(2 * np.pi * np.arange(120) / 12)[:, None]
        >>> find_season([wave], [12])[0]
        12
    """
    longest = max(len(p) for p in pieces)
    most = min(_LONGEST, longest // 2)
    usable = [p[-_SAMPLES:] for p in pieces if len(p) >= min(longest, 3 * most)][:20]
    count = sum(map(len, usable))
    sure: dict[int, float] = {}
    for lag in likely:
        if 2 <= lag <= most:
            # Slow movement would hide a small cycle: the mean of a season about each step goes.
            like = _autocorrelation(usable, lag + lag // 2, around=lag)
            if _is_peak(like, lag) and like[lag] >= max(_SURE, 0.8 * np.sqrt(lag / count)):
                sure[lag] = like[lag]
    if sure:
        best = min(s for s, h in sure.items() if h >= 0.9 * max(sure.values()))
        return best, f"a season of {best} steps, at which the autocorrelation is {sure[best]:.2f}"
    like = _autocorrelation(usable, most + most // 2)
    least = max(2 * _SURE, 6 / np.sqrt(count))
    # Any of many lags may be high by chance: the bar is higher for seasons that nothing suggests.
    heights = {s: _height(like, s) for s in range(3, most + 1) if _is_peak(like, s)}
    sure = {s: h for s, h in heights.items() if h >= least}
    if sure:
        best = min(s for s, h in sure.items() if h >= 0.9 * max(sure.values()))
        return best, f"a season of {best} steps: the highest peak of the autocorrelation, " \
                     f"{like[best]:.2f}"  # fmt: skip
    return 1, "no season: the autocorrelation has no clear peak"


def calendar_parts(frequency: Frequency, first: int, last: int) -> tuple[str, ...]:
    """Return which cycles of the calendar a series can tell: those that it saw twice.

    >>> calendar_parts(Frequency("months", 1), 0, 60)
    ('month',)
    """
    if not frequency.has_dates:
        return ()
    ends = frequency.times(np.array([first, last]))
    days = float((ends[1] - ends[0]) / np.timedelta64(1, "D"))
    made = []
    if frequency.per_day > 1 and days >= 2:
        made.append("hour")
    if (frequency.kind == "weekdays" or frequency.per_day >= 1) and days >= 14:
        made.append("weekday")
    if days >= 2 * 365 and (frequency.kind != "months" or frequency.step < 12):
        made.append("month")
    return tuple(made)


def calendar(times: Array, parts: Sequence[str]) -> Array:
    """Return sine and cosine of parts of dates (...), float32 (..., 2 * parts).

    >>> calendar(np.array(["2024-01-01T06:00"], "M8[us]"), ["hour"]).round(3).tolist()
    [[1.0, 0.0]]
    """
    days, months = times.astype("M8[D]"), times.astype("M8[M]")
    length = (months + 1).astype("M8[D]") - months.astype("M8[D]")
    share = {
        "hour": (times - days) / np.timedelta64(1, "D"),
        "weekday": ((days.astype(np.int64) + 3) % 7) / 7,  # 1970 began on a Thursday
        "month": (months.astype(np.int64) % 12 + (days - months.astype("M8[D]")) / length) / 12,
    }
    made = [wave(2 * np.pi * share[part]) for part in parts for wave in (np.sin, np.cos)]
    return np.stack(made, axis=-1).astype(np.float32)


def _date(microseconds: float) -> Any:
    return np.datetime64(int(microseconds), "us")


def _common(apart: Array) -> Any:
    """Return the distance that comes most often, of equally many the smallest."""
    values, counts = np.unique(apart, return_counts=True)
    if counts.max() * 2 >= len(apart):
        return values[counts.argmax()].item()
    return np.sort(apart)[len(apart) // 2].item()  # no two alike: the middle one


def _day_of_month(dates: Array) -> int:
    months = dates.astype("M8[M]")
    days = (dates.astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
    length = ((months + 1).astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
    if (days == length - 1).all() and len(np.unique(days)) > 1:
        return 31
    return int(np.bincount(days).argmax())


def _autocorrelation(pieces: Sequence[Array], lags: int, around: int = 0) -> Array:
    """Return the mean autocorrelation (lags + 1,) of columns without their slow movement.

    That is a straight line, or the mean of ``around`` steps about each step if that is not 0.
    """
    total, weight = np.zeros(lags + 1), 0.0
    for piece in pieces:
        for column in piece.T:
            x = _without_trend(column, around)
            if len(x) < 4 or x.std() <= 1e-9 * max(1.0, np.abs(column).max()):
                continue
            power = np.abs(np.fft.rfft(x, 2 * len(x))) ** 2
            like = np.fft.irfft(power)[: lags + 1]
            like = np.pad(like, (0, lags + 1 - len(like)))
            # The sum at a lag has fewer terms: without that, late peaks would look lower.
            terms = np.maximum(len(x) - np.arange(lags + 1), 1)
            like = np.where(np.arange(lags + 1) < len(x) - 2, like / terms, 0) * len(x)
            total += len(x) * like / like[0]
            weight += len(x)
    return total / max(weight, 1.0)


def _without_trend(column: Array, around: int) -> Array:
    if not around:
        time = np.linspace(-1, 1, len(column))
        return np.asarray(column - np.polyval(np.polyfit(time, column, 1), time))
    sums = np.cumsum(np.concatenate([[0.0], column - column.mean()]))
    mean = (sums[around:] - sums[:-around]) / around + column.mean()
    return np.asarray(column[around // 2 :][: len(mean)] - mean)


def _height(like: Array, lag: int) -> float:
    """Return the height of the autocorrelation at a lag above the valleys beside it."""
    half = lag // 2
    return float(like[lag] - (like[lag - half] + like[min(lag + half, len(like) - 1)]) / 2)


def _is_peak(like: Array, lag: int) -> bool:
    near = max(1, lag // 8)
    beside = like[max(1, lag - near) : lag + near + 1]
    return bool(like[lag] > 0 and like[lag] >= beside.max())
