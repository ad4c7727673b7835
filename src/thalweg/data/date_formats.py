"""Formats in which people and programs write dates, and how a column of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

__all__ = ["DATE_FORMATS", "disagreeing", "read_dates"]

_CLOCKS: Final = (" %H:%M", " %H:%M:%S")
_CLOCKS_12: Final = (" %I:%M %p", " %I:%M:%S %p")
_ISO: Final = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S%z",
    "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%d %H:%M:%S.%f%z", "%Y-%m",
)  # fmt: skip
_NAMED: Final = (
    "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y",
    "%B %d %Y", "%a, %d %b %Y", "%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %Y", "%b %Y",
    "%B %Y",
)  # fmt: skip

# As for ``strptime``. The first one that fits all values is taken, if no other one that fits says
# another day.
DATE_FORMATS: Final = (
    *_ISO,
    *(f"%Y/%m/%d{clock}" for clock in ("", *_CLOCKS)), "%Y.%m.%d",
    *(f"%d.%m.%Y{clock}" for clock in ("", *_CLOCKS)), "%d.%m.%y",
    *(f"{day}{clock}" for day in ("%m/%d/%Y", "%d/%m/%Y") for clock in ("", *_CLOCKS, *_CLOCKS_12)),
    "%m/%d/%y", "%d/%m/%y",
    *(f"{day}{clock}" for day in ("%d-%m-%Y", "%m-%d-%Y") for clock in ("", *_CLOCKS)),
    *_NAMED,
)  # fmt: skip
_FIRST_YEAR: Final = 1000


def read_dates(series: Any, form: str) -> Any:
    """Return the dates of a Polars series of text, datetime without zone; null where one is none.

    ``form``: as for ``strptime``. Times with a zone become those of UTC. A format without a day
    means the first of the month.

    Example:
        >>> import polars as pl
        >>> read_dates(pl.Series(["31.12.2024", "31.12.24"]), "%d.%m.%Y").is_null().to_list()
        [False, True]
    """
    import polars as pl

    form = form.replace(".%f", "%.f")
    if "%d" not in form:
        if form == "%Y-%m":  # 1999-1 is more often something else
            series = pl.select(
                pl.when(series.str.contains(r"^\d{4}-\d{2}$")).then(series)
            ).to_series()
        series, form = "01 " + series, f"%d {form}"
    if not any(part in form for part in ("%H", "%I")):
        made = series.str.to_date(form, strict=False, exact=True).cast(pl.Datetime("us"))
    else:
        made = series.str.to_datetime(form, strict=False, exact=True, time_unit="us")
        if "%z" in form:
            made = made.dt.replace_time_zone(None)  # it is of UTC
    if "%y" in form:
        return made
    early = made.dt.year() < _FIRST_YEAR  # "01.02.24" is not of the year 24, "1.1.0024" is
    return made.set(early & ~series.str.contains(r"\b0\d{3}\b"), None)


def disagreeing(found: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    """Return two formats of which each fits, with other days; nothing if all agree.

    ``found``: formats with what they read of all values, arrays or Polars series.

    Example:
        >>> import numpy as np
        >>> disagreeing([("%d/%m/%Y", np.array([1, 3])), ("%m/%d/%Y", np.array([2, 3]))])
        ('%d/%m/%Y', '%m/%d/%Y')
    """
    for form, dates in found[1:]:
        if (dates != found[0][1]).any():
            return found[0][0], form
    return ()
