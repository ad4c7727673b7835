"""Formats in which people and programs write dates, and how a column of them is read."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

__all__ = ["DATE_FORMATS", "date_pattern", "disagreeing", "read_date", "read_dates"]

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

# What the parts of a format look like; those of days and months depend on each other.
_PARTS: Final = {
    "%y": "[0-9]{2}", "%m": "(0?[1-9]|1[0-2])", "%d": "(0?[1-9]|[12][0-9]|3[01])",
    "%H": "([01]?[0-9]|2[0-3])", "%I": "(0?[1-9]|1[0-2])", "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]", ".%f": r"(\.[0-9]{1,9})?", "%p": "([AaPp][Mm])",
    "%z": r"(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])",
}  # fmt: skip
_YEARS: Final = "[12][0-9]{3}"
_LIKELY: Final = "(1[5-9]|2[01])[0-9]{2}"  # where nobody said that these are dates
_NAMES: Final[dict[str, list[str]]] = {
    "%a": list(calendar.day_abbr), "%b": list(calendar.month_abbr[1:]),
    "%B": list(calendar.month_name[1:]),
}  # fmt: skip
# Days with the months that have them; only leap years are left to be told by the calendar.
_DAYS: Final = (
    ("(0?[1-9]|[12][0-9])", range(1, 13)), ("30", (1, *range(3, 13))),
    ("31", (1, 3, 5, 7, 8, 10, 12)),
)  # fmt: skip
_TOKENS: Final = re.compile(r"(%d[^%]+%[mbB]|%[mbB][^%]+%d|\.%f|%.)")
_ISO_DAY: Final = "%Y-%m-%d"
_PIVOT: Final = 2069  # what 69 is to Polars; to Python, and here, it is 1969


@cache
def date_pattern(form: str, years: str = _YEARS) -> str:
    r"""Return the regular expression of a date's format; ``years``: that of ``%Y``.

    Formats are read leniently by most programs: this leaves out what only looks like a date.

    >>> date_pattern("%H:%M")
    '^([01]?[0-9]|2[0-3]):[0-5][0-9]$'
    >>> re.fullmatch(date_pattern("%d.%m.%Y"), "31.11.2024")
    """
    known = _PARTS | {"%Y": "[0-9]{4}" if form == _ISO_DAY else years}
    known |= {token: _any_case(names) for token, names in _NAMES.items()}
    made = ""
    for part in _TOKENS.split(form):
        if len(part) > 3 and part[0] == "%":
            days = (_in_order(part, day, _months(part, months)) for day, months in _DAYS)
            made += "(" + "|".join(days) + ")"
        else:
            made += known.get(part, re.escape(part))
    return f"^{made}$"


def _months(part: str, months: Iterable[int]) -> str:
    """Return the expression of some months as a part of a format has them."""
    for token in ("%b", "%B"):
        if token in part:
            return _any_case([_NAMES[token][month - 1] for month in months])
    return "(" + "|".join(f"0?{m}" if m < 10 else str(m) for m in months) + ")"


def _any_case(names: Iterable[str]) -> str:
    return "(" + "|".join(form for n in names for form in (n, n.lower(), n.upper())) + ")"


def _in_order(part: str, day: str, month: str) -> str:
    """Return the expressions of day and month in the order of a part such as ``%d.%m``."""
    first, second = (day, month) if part.startswith("%d") else (month, day)
    return first + re.escape(part[2:-2]) + second


def read_date(word: str, form: str) -> datetime | None:
    """Return the date that a text holds, without zone; None if it holds none of this format.

    Example:
        >>> read_date("31/12/69", "%d/%m/%y"), read_date("2.7", "%d.%m.%Y")
        (datetime.datetime(1969, 12, 31, 0, 0), None)
    """
    word = word.strip()
    if not re.fullmatch(date_pattern(form), word):
        return None
    if ".%f" in form:  # Python reads six digits, and wants one
        word = re.sub(r"(\.\d{6})\d+", r"\1", word)
        if not re.search(r":\d\d\.\d", word):
            form = form.replace(".%f", "")
    try:
        made = datetime.strptime(word, form)
        return made.astimezone(UTC).replace(tzinfo=None) if made.tzinfo else made
    except (ValueError, OverflowError):
        return None


def read_dates(series: Any, form: str, inferred: bool = False) -> Any:
    """Return the dates of a Polars series of text, datetime without zone; null where one is none.

    ``form``: as for ``strptime``. ``inferred``: nobody said that these are dates, so that years
    which nobody means are none. Times with a zone become those of UTC. A format without a day means
    the first of the month.

    Example:
        >>> import polars as pl
        >>> read_dates(pl.Series(["31.12.2024", "31.12.24"]), "%d.%m.%Y").is_null().to_list()
        [False, True]
    """
    import polars as pl

    pattern = date_pattern(form, _LIKELY if inferred else _YEARS)
    series = series.set(~series.str.contains(pattern), None)
    form = form.replace(".%f", "%.f")
    if "%d" not in form:
        series, form = "01 " + series, f"%d {form}"
    if "%z" in form:
        series = series.str.replace(r"Z$", "+00:00")
    if not any(part in form for part in ("%H", "%I")):
        made = series.str.to_date(form, strict=False, exact=True).cast(pl.Datetime("us"))
    else:
        made = series.str.to_datetime(form, strict=False, exact=True, time_unit="us")
        if "%z" in form:
            made = made.dt.replace_time_zone(None)  # it is of UTC
    if "%y" not in form:
        return made
    return made.zip_with(made.dt.year() != _PIVOT, made.dt.offset_by("-100y"))


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
